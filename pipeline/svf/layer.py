"""The SVFit layer: a frozen linear map whose singular directions several named adapters scale or mix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Self

import torch
from torch import nn

from export.basis import Factors
from export.core import DIAGONAL, Core
from export.fold import fold_weight
from pipeline.svf.convolution import convolved
from pipeline.svf.plan import cheapest_plan, cheapest_plan_alike
from pipeline.svf.product import product
from pipeline.svf.weights import oriented_weight, stored_weight
from serve.errors import InputError


class SVFLinear(nn.Module):
    """Wraps one frozen linear map; `forward` takes `x (..., in)` and gives `(..., out)`. Of a convolution, which is one
    over patches, it takes `(batch, channels, height, width)` as that does, and `in` is `channels·kh·kw`.

    Each adapter is one float32 parameter `delta[name]` of `core.shape(r)`, kept apart from the singular values because
    adding 0.01 to a value of 5 changes nothing in bf16. The factors are buffers that no checkpoint saves: they belong
    to the basis.
    """

    U: torch.Tensor
    S: torch.Tensor
    Vh: torch.Tensor

    def __init__(self, base: nn.Module, factors: Factors, *, complete: bool = True, core: Core = DIAGONAL) -> None:
        super().__init__()
        self.core = core
        self.complete = complete
        """Whether every direction is there; a bundle's factors are zero in those that it doesn't carry."""
        weight = oriented_weight(base)
        self.base = base
        self.out_features, self.in_features = int(weight.shape[0]), int(weight.shape[1])
        for name, value in (("U", factors.U), ("S", factors.S), ("Vh", factors.Vh)):
            self.register_buffer(name, value.to(weight.device), persistent=False)
        self.delta = nn.ParameterDict()
        self.active: str | None = None
        self.folded: str | None = None
        self._unfolded: torch.Tensor | None = None

    @property
    def weight(self) -> torch.Tensor:
        """The frozen weight as the base module stores it; models read it for its dtype and device."""
        weight = self.base.weight
        assert isinstance(weight, torch.Tensor)  # noqa: S101
        return weight

    @property
    def bias(self) -> torch.Tensor | None:
        bias = self.base.bias
        return bias if isinstance(bias, torch.Tensor) else None

    @property
    def factors(self) -> Factors:
        return Factors(self.U, self.S, self.Vh)

    def add(self, name: str) -> None:
        """A new adapter that changes nothing yet."""
        self.delta[name] = nn.Parameter(torch.zeros(self.core.shape(self.S.numel()), device=self.S.device))

    def narrow(self, places: Sequence[int], kept: Factors) -> None:
        """Keep only these of the current directions, whose factors are `kept`, and of every adapter what its core does
        among them alone.

        Each adapter gets a new parameter. A banded core keeps its neighbours only where `places` are the first ones.
        """
        self.U, self.S, self.Vh = kept.U, kept.S, kept.Vh
        for name, values in self.delta.items():
            cut = self.core.take(values.detach(), places).contiguous()
            self.delta[name] = nn.Parameter(cut, requires_grad=values.requires_grad)

    def fold(self, name: str) -> None:
        """Write adapter `name` into the weight, in its own dtype; the untouched weight is kept for `unfold`.

        Raises `InputError` for a value that is not finite, or one that the weight's dtype can't hold.
        """
        merged = fold_weight(oriented_weight(self.base), self.factors, self.delta[name].detach(), self.core)
        stored = stored_weight(self.base, merged).to(self.weight.dtype)
        if not bool(torch.isfinite(stored).all()):
            raise InputError(f"the folded weight does not fit into {str(stored.dtype).removeprefix('torch.')}")
        self._unfolded = self.weight.detach().clone()
        self.weight.data.copy_(stored)
        self.folded = name

    def unfold(self) -> None:
        """Put back the very weight that `fold` found."""
        if self._unfolded is not None:
            self.weight.data.copy_(self._unfolded)
        self._unfolded, self.folded = None, None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.active is None or self.folded is not None:
            return self.base(x)  # type: ignore[no-any-return]
        weight, values = oriented_weight(self.base), self.delta[self.active]
        graded = torch.is_grad_enabled()
        convolution = self.base if isinstance(self.base, nn.Conv2d) else None
        choose = cheapest_plan if convolution is None else cheapest_plan_alike
        plan = choose(
            x.numel() // max(1, self.in_features) if convolution is None else _places(convolution, x),
            self.out_features,
            self.in_features,
            self.S.numel(),
            self.core,
            complete=self.complete and not weight.requires_grad,
            into_x=graded and x.requires_grad,
            into_values=graded and values.requires_grad,
        )
        device, dtype = x.device.type, x.dtype
        if torch.is_autocast_enabled(device) and dtype != torch.float64:
            dtype = torch.get_autocast_dtype(device)
        with torch.autocast(device, enabled=False):
            if convolution is not None:
                return convolved(x, convolution, values, self.factors, self.core, plan.forward, dtype)
            return product(x, weight, self.bias, values, self.factors, self.core, plan, dtype)

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Self:
        """`model.half()` casts the base; the factors and every delta move with it but stay float32."""

        def keep(value: torch.Tensor) -> torch.Tensor:
            moved = fn(value)
            return moved if moved.dtype == value.dtype else value.to(moved.device)

        self.base._apply(fn, recurse)
        super()._apply(keep, recurse)  # type: ignore[no-untyped-call]
        return self

    def extra_repr(self) -> str:
        sizes = f"in={self.in_features}, out={self.out_features}, rank={self.S.numel()}"
        return f"{sizes}, core={self.core}, active={self.active}"


def _places(base: nn.Conv2d, x: torch.Tensor) -> int:
    """How many patches of `x (..., channels, height, width)` a convolution sees, but for the borders."""
    across = (x.shape[-1] // base.stride[-1]) * (x.shape[-2] // base.stride[-2])
    return max(1, x.numel() // max(1, x.shape[-3] * x.shape[-2] * x.shape[-1])) * max(1, across)
