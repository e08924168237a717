"""The product of a layer, `y = W x + b + U C (Vh x)`, with a backward pass of its own."""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional

from export.basis import Factors
from export.core import Core
from pipeline.svf.plan import Plan

Grads = tuple[torch.Tensor | None, ...]


def product(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    values: torch.Tensor,
    factors: Factors,
    core: Core,
    plan: Plan,
    dtype: torch.dtype,
) -> torch.Tensor:
    """`y (..., out)` in `dtype`, for `x (..., in)`, `weight (out, in)`, `bias (out,)` and `values` of `core.shape(r)`.

    Matrix products are computed in `dtype`, to which all but `values` are cast, again in the backward pass, so that no
    cast is kept; what the core does, and the gradient of `values`, in the wider of `dtype` and that of `values`. Kept
    from one pass to the other is what `plan.values` says, and nothing else that isn't there anyway. Differentiable
    once, by `x`, `weight`, `bias` and `values`; by `weight` with `x` kept whatever the plan, and not where `W` is
    factored.
    """
    found = _Product.apply(x, weight, bias, values, factors.U, factors.S, factors.Vh, core, plan, dtype)  # type: ignore[no-untyped-call]
    assert isinstance(found, torch.Tensor)  # noqa: S101 (narrowing for the type checker)
    return found


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        values: torch.Tensor,
        U: torch.Tensor,
        S: torch.Tensor,
        Vh: torch.Tensor,
        core: Core,
        plan: Plan,
        dtype: torch.dtype,
    ) -> torch.Tensor:
        rows = x.reshape(-1, x.shape[-1]).to(dtype)
        y, inner = _times(plan.forward, rows, weight, None if bias is None else bias.to(dtype), values, U, S, Vh, core)
        if plan.values == "inner" and inner is None:
            inner = functional.linear(rows, Vh.to(dtype))
        keep_rows = plan.values == "outer" or ctx.needs_input_grad[1]
        ctx.save_for_backward(
            rows if keep_rows else None, inner if plan.values == "inner" else None, weight, values, U, S, Vh
        )
        ctx.core, ctx.plan, ctx.dtype, ctx.shape = core, plan, x.dtype, x.shape
        return y.view(*x.shape[:-1], y.shape[-1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> Grads:
        rows, inner, weight, values, U, S, Vh = ctx.saved_tensors
        by_x, by_weight, by_bias, by_values = ctx.needs_input_grad[:4]
        g = gradient.reshape(-1, gradient.shape[-1])
        into_x = into_weight = into_values = turned = None
        with torch.autocast(g.device.type, enabled=False):
            if by_x:
                flipped = ctx.core.transposed(values)
                back, turned = _times(ctx.plan.backward, g, weight.T, None, flipped, Vh.T, S, U.T, ctx.core)
                into_x = back.view(ctx.shape).to(ctx.dtype)
            outer = g.T @ rows if rows is not None else None
            if by_weight:
                into_weight = outer
            if by_values and outer is not None:
                into_values = _gathered(ctx.core, outer.T @ U.to(g.dtype), Vh.T, values.dtype)
            elif by_values:
                turned = g @ U.to(g.dtype) if turned is None else turned
                into_values = _gathered(ctx.core, turned, inner, values.dtype)
            into_bias = g.sum(0) if by_bias else None
        return into_x, into_weight, into_bias, into_values, None, None, None, None, None, None


def _times(
    form: str,
    rows: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    values: torch.Tensor,
    U: torch.Tensor,
    S: torch.Tensor,
    Vh: torch.Tensor,
    core: Core,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """`(W + U C Vh) x + b` for every `x` of `rows`, in their dtype; and `Vh x`, where the form computes it."""
    dtype = rows.dtype
    wide = torch.promote_types(dtype, values.dtype)
    if form == "formed":
        turned = core.apply(core.transposed(values), U.to(wide)).to(dtype)
        return functional.linear(rows, torch.addmm(weight.to(dtype), turned, Vh.to(dtype)), bias), None
    inner = functional.linear(rows, Vh.to(dtype))
    if form == "factored":
        scaled = _with_singular_values(core, values, S, inner.to(wide))
        return functional.linear(scaled.to(dtype), U.to(dtype), bias), inner
    y = functional.linear(rows, weight.to(dtype), bias)
    return y.addmm_(core.apply(values, inner.to(wide)).to(dtype), U.to(dtype).T), inner


def _with_singular_values(core: Core, values: torch.Tensor, S: torch.Tensor, inner: torch.Tensor) -> torch.Tensor:
    """`(diag(S) + C) z` for every `z` of `inner`."""
    if core.kind == "diagonal":
        return inner * (S + values)
    return torch.addcmul(core.apply(values, inner), inner, S.to(inner.dtype))


def _gathered(core: Core, left: torch.Tensor, right: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """`Σ_n left_n right_nᵀ` of `left (n, r)` and `right (n, r)` at the places of `C`, summed in `dtype` or wider."""
    wide = torch.promote_types(left.dtype, dtype)
    left, right = left.to(wide), right.to(wide)
    if core.kind == "dense":
        return (left.T @ right).to(dtype)
    if core.kind == "diagonal":
        return (left * right).sum(0).to(dtype)
    rank = left.shape[-1]
    found = left.new_zeros(core.shape(rank))
    for row in range(len(found)):
        offset = row - core.bands
        start, stop = max(0, -offset), min(rank, rank - offset)
        if start < stop:
            found[row, start:stop] = (left[:, start:stop] * right[:, start + offset : stop + offset]).sum(0)
    return found.to(dtype)
