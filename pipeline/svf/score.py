"""What every singular direction could do for a task, measured on a few batches before anything is trained."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from export.basis import Factors
from export.core import Core
from pipeline.svf.weights import rows_of, through
from serve.errors import InputError

Batch = Mapping[str, torch.Tensor]
Loss = Callable[[nn.Module, Batch], torch.Tensor]
"""The loss of a batch, a scalar that can be differentiated."""


def score(
    model: nn.Module, factors: Mapping[str, Factors], batches: Iterable[Batch], loss: Loss, core: Core
) -> dict[str, torch.Tensor]:
    """`Σ (∂L/∂C)²` over the batches at `C = 0`, for every direction of the layers that `factors` names.

    `(r,)` a layer, float64, on the CPU. For a diagonal core the entry at `i` is that of `∂L/∂δ_i`; for the others what
    `C` gains by growing from its first `i` directions to `i + 1`: its new row and column, as far as the core has them.
    One forward and one backward pass a batch, which keeps no gradient of a weight and a layer's `C` at a time. The
    model is a plain one; it is in evaluation mode meanwhile, and as it was before afterwards. Raises `InputError` where
    the gradients aren't finite.
    """
    found = {name: torch.zeros(layer.rank, dtype=torch.float64) for name, layer in factors.items()}
    probes = {name: _Probe(layer, core, found[name]) for name, layer in factors.items()}
    with _still(model):
        handles = [model.get_submodule(name).register_forward_hook(probe) for name, probe in probes.items()]
        try:
            for batch in batches:
                loss(model, batch).backward()
        finally:
            for handle in handles:
                handle.remove()
    for name, total in found.items():
        if not bool(torch.isfinite(total).all()):
            raise InputError(
                f"layer {name}: directions can't be scored, their gradients hold NaN or infinity; try a lower"
                " train.head_learning_rate, or a number as adapter.rank"
            )
    return found


@contextmanager
def warm_head(
    model: nn.Module, whole: Sequence[str], batches: Sequence[Batch], loss: Loss, *, rate: float, passes: int
) -> Iterator[None]:
    """Meanwhile, the modules named in `whole` are trained a little, all else frozen; afterwards as they were.

    A fresh head is random, and so are the directions in which it would pull the layers below.
    """
    head = {
        name: value
        for name, value in model.named_parameters()
        if any(name.startswith(f"{module}.") for module in whole)
    }
    before = {name: value.detach().clone() for name, value in head.items()}
    try:
        with _still(model):
            for value in head.values():
                value.requires_grad_(True)
            optimizer = torch.optim.AdamW([{"params": list(head.values())}], lr=rate, weight_decay=0.0)
            for batch in [*batches] * passes if head else []:
                loss(model, batch).backward()
                optimizer.step()
                optimizer.zero_grad()
        yield
    finally:
        with torch.no_grad():
            for name, value in head.items():
                value.copy_(before[name])


class _Probe:
    """Hears a layer's input and the gradient at its output, and adds up the squares of `∂L/∂C`, a batch at a time."""

    def __init__(self, factors: Factors, core: Core, total: torch.Tensor) -> None:
        self.factors = factors
        self.core = core
        self.total = total
        self.waiting = 0
        self.gradient: torch.Tensor | None = None

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor:
        if not output.requires_grad:
            output = output.requires_grad_(True).clone()  # a leaf couldn't be changed in place
        heard = inputs[0].detach()
        self.waiting += 1
        output.register_hook(lambda gradient: self._hear(module, heard, gradient))
        return output

    def _hear(self, module: nn.Module, heard: torch.Tensor, gradient: torch.Tensor) -> None:
        inner = rows_of(module, through(module, self.factors.Vh.to(heard), heard))
        pull = rows_of(module, gradient) @ self.factors.U.to(gradient)
        found = (inner * pull).sum(0) if self.core.kind == "diagonal" else pull.mT @ inner
        self.gradient = found if self.gradient is None else self.gradient + found
        self.waiting -= 1
        if not self.waiting:  # a module that a model calls several times has one C
            self.total += _growth(self.gradient.double().cpu().square(), self.core)
            self.gradient = None


def _growth(squares: torch.Tensor, core: Core) -> torch.Tensor:
    if core.kind == "diagonal":
        return squares
    if core.kind == "banded":
        squares = squares.tril(core.bands).triu(-core.bands)
    return squares.tril().sum(1) + squares.triu(1).sum(0)


@contextmanager
def _still(model: nn.Module) -> Iterator[None]:
    """In evaluation mode and with every parameter frozen; afterwards as it was, without gradients of ours."""
    training = {module: module.training for module in model.modules()}
    learning = {value: (value.requires_grad, value.grad) for value in model.parameters()}
    model.eval()
    for value in learning:
        value.requires_grad_(False)
    try:
        yield
    finally:
        for module, mode in training.items():
            module.training = mode
        for value, (wanted, gradient) in learning.items():
            value.requires_grad_(wanted)
            value.grad = gradient
