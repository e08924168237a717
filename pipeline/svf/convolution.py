"""The layer's product where the frozen map is a convolution: `Vh` as kernels, the core, and `U` as a 1 × 1 one."""

from __future__ import annotations

import torch
from torch import nn

from export.basis import Factors
from export.core import Core
from pipeline.svf.weights import oriented_weight, through


def convolved(
    x: torch.Tensor,
    module: nn.Conv2d,
    values: torch.Tensor,
    factors: Factors,
    core: Core,
    form: str,
    dtype: torch.dtype,
) -> torch.Tensor:
    """`(W + U C Vh) * x + b`, `(batch, out, height, width)` in `dtype`, for `x (batch, channels, ...)`.

    `form` is one of the plan's: `bypass`, `formed` or `factored` (complete factors of full rank only). All are exact
    and differentiable, by `x` and `values`, and by the bias; by the weight where it isn't `factored`. What the core
    does is computed in the wider of `dtype` and that of `values`.
    """
    x, bias = x.to(dtype), None if module.bias is None else module.bias.to(dtype)
    wide = torch.promote_types(dtype, values.dtype)
    if form == "formed":
        turned = core.apply(core.transposed(values), factors.U.to(wide)).to(dtype)
        return through(module, torch.addmm(oriented_weight(module).to(dtype), turned, factors.Vh.to(dtype)), x, bias)
    inner = through(module, factors.Vh.to(dtype), x)
    moved = inner.movedim(-3, -1).to(wide)
    scaled = core.apply(values, moved)
    if form == "factored":
        scaled = torch.addcmul(scaled, moved, factors.S.to(wide))
    kernel = factors.U.to(dtype)[:, :, None, None]
    if form == "factored":
        return nn.functional.conv2d(scaled.to(dtype).movedim(-1, -3), kernel, bias)
    turned = nn.functional.conv2d(scaled.to(dtype).movedim(-1, -3), kernel)
    return through(module, oriented_weight(module).to(dtype), x, bias) + turned
