"""What the trainer needs of whatever is tuned: SVFit, a rival, or the whole model."""

from __future__ import annotations

from typing import Protocol

from torch import nn


class Tuned(Protocol):
    """A model and the parameters of it that are trained."""

    @property
    def model(self) -> nn.Module: ...

    def trainable(self) -> dict[str, list[tuple[str, nn.Parameter]]]:
        """By name: `adapter`, at the plan's `learning_rate`, and `head`, at its `head_learning_rate`."""
        ...
