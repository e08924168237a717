"""Regression on any unit: numbers are trained with mean 0 and deviation 1, and the output layer gives them back."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

SQUARED, LINEAR = ("mse",), ("mae",)


@dataclass(frozen=True)
class Scale:
    """`trained = (number - mean) / deviation`."""

    mean: float
    deviation: float

    @classmethod
    def of(cls, numbers: Sequence[float]) -> Scale:
        """That of the training rows; a deviation of 0 counts as 1."""
        return cls(statistics.fmean(numbers), statistics.pstdev(numbers) or 1.0)

    def apply(self, numbers: Sequence[float]) -> list[float]:
        return [(number - self.mean) / self.deviation for number in numbers]

    def put_into(self, layer: nn.Linear) -> None:
        """Make a layer that answers trained numbers answer real ones: exact, as it is linear."""
        with torch.no_grad():
            layer.weight.mul_(self.deviation)
            layer.bias.mul_(self.deviation).add_(self.mean)

    def take_from(self, layer: nn.Linear) -> None:
        """The inverse of `put_into`, before training goes on."""
        with torch.no_grad():
            layer.bias.sub_(self.mean).div_(self.deviation)
            layer.weight.div_(self.deviation)

    def real_units(self, row: dict[str, Any]) -> dict[str, Any]:
        """A row of validation metrics with its errors in the rows' own unit. `loss` stays what was minimized."""
        factors = dict.fromkeys(SQUARED, self.deviation**2) | dict.fromkeys(LINEAR, self.deviation)
        return {key: value * factors.get(key, 1.0) for key, value in row.items()}


def output_layer(model: nn.Module, whole: Sequence[str]) -> nn.Linear | None:
    """The last linear layer with one output and a bias among the modules trained whole; None where there is none."""
    found = None
    for name, module in model.named_modules():
        inside = any(name == head or name.startswith(f"{head}.") for head in whole)
        if inside and isinstance(module, nn.Linear) and module.out_features == 1 and module.bias is not None:
            found = module
    return found
