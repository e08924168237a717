"""The fold: learned scaling of singular directions written into the weight."""

from __future__ import annotations

import torch

from export.basis import Factors
from serve.errors import InputError


def weight_change(factors: Factors, delta: torch.Tensor) -> torch.Tensor:
    """`U diag(delta) Vh`, float64 `(out, in)`, from `delta (r,)` (SVFit, arXiv 2409.05926, merged form).

    In float64: the fold happens once and its error stays in the weight for good.
    Raises `InputError` for a wrong length or a value that is not finite.
    """
    if delta.shape != factors.S.shape:
        raise InputError(f"delta has shape {tuple(delta.shape)}, its basis has rank {factors.rank}")
    if not bool(torch.isfinite(delta).all()):
        raise InputError("delta holds NaN or infinity: the training diverged; try a lower train.learning_rate")
    return (factors.U.double() * delta.double()) @ factors.Vh.double()


def fold_weight(weight: torch.Tensor, factors: Factors, delta: torch.Tensor) -> torch.Tensor:
    """`W + U diag(delta) Vh` as float32 `(out, in)`; the input is not changed. Raises as `weight_change`."""
    if not bool(torch.isfinite(weight).all()):
        raise InputError("the base weight holds NaN or infinity")
    return (weight.double() + weight_change(factors, delta)).float()
