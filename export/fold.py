"""The fold: what an adapter learned on its singular directions, written into the weight."""

from __future__ import annotations

import torch

from export.basis import Factors
from export.core import DIAGONAL, Core
from serve.errors import InputError


def turned(factors: Factors, values: torch.Tensor, core: Core = DIAGONAL) -> torch.Tensor:
    """`U C`, float64 `(out, r)`, from values of `core.shape(r)`.

    Raises `InputError` for values of another shape, or not finite.
    """
    if values.shape != core.shape(factors.rank):
        raise InputError(
            f"delta has shape {tuple(values.shape)}, its basis has rank {factors.rank}: the values of a {core.kind}"
            f" core have {core.shape(factors.rank)}"
        )
    if not bool(torch.isfinite(values).all()):
        raise InputError("delta holds NaN or infinity: the training diverged; try a lower train.learning_rate")
    return core.apply(core.transposed(values.double()), factors.U.double())


def weight_change(factors: Factors, values: torch.Tensor, core: Core = DIAGONAL) -> torch.Tensor:
    """`U C Vh`, float64 `(out, in)`; for a diagonal core SVFit's merged form (arXiv 2409.05926). Raises as `turned`.

    In float64: the fold happens once and its error stays in the weight for good.
    """
    return turned(factors, values, core) @ factors.Vh.double()


def fold_weight(weight: torch.Tensor, factors: Factors, values: torch.Tensor, core: Core = DIAGONAL) -> torch.Tensor:
    """`W + U C Vh` as float32 `(out, in)`; the input is not changed. Raises as `turned`."""
    if not bool(torch.isfinite(weight).all()):
        raise InputError("the base weight holds NaN or infinity")
    return (weight.double() + weight_change(factors, values, core)).float()
