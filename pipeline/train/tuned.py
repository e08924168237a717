"""What the trainer needs of whatever is tuned: SVFit, a rival, or the whole model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import nn


class Tuned(Protocol):
    """A model and the parameters of it that are trained."""

    @property
    def model(self) -> nn.Module: ...

    def trainable(self) -> dict[str, list[tuple[str, nn.Parameter]]]:
        """By name: `adapter`, at the plan's `learning_rate`, and `head`, at its `head_learning_rate`."""
        ...


def trained(tuned: Tuned) -> dict[str, torch.Tensor]:
    """The trained parameters by kind and name, detached, on the CPU."""
    return {
        f"{kind}.{name}": value.detach().cpu().clone().contiguous()
        for kind, group in tuned.trainable().items()
        for name, value in group
    }


def put(tuned: Tuned, values: Mapping[str, torch.Tensor]) -> None:
    """Put what `trained` gave back in place."""
    with torch.no_grad():
        for kind, group in tuned.trainable().items():
            for name, value in group:
                value.copy_(values[f"{kind}.{name}"])
