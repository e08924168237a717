"""What a method of fine-tuning is: how it makes a model trainable, and which learning rates are worth a try."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from pipeline.model.load import Loaded

Targets = str | Sequence[str]
"""The layers that methods adapt, as `pipeline.svf.find_targets` takes them."""


@dataclass(frozen=True)
class Parameters:
    """A model and the parameters of it that a method trains; all others are frozen."""

    model: nn.Module
    adapter: list[tuple[str, nn.Parameter]]
    head: list[tuple[str, nn.Parameter]]

    def __post_init__(self) -> None:
        wanted = {id(value) for _, value in self.adapter + self.head}
        for parameter in self.model.parameters():
            parameter.requires_grad_(id(parameter) in wanted)

    def trainable(self) -> dict[str, list[tuple[str, nn.Parameter]]]:
        return {"adapter": self.adapter, "head": self.head}


@dataclass(frozen=True)
class Method:
    """One way to fine-tune. Picklable, as every training has a process of its own."""

    key: str
    """As a person names it, its size included: `lora:8`."""
    title: str
    prepare: Callable[[Loaded], Any]
    """Changes a loaded model in place and gives a `pipeline.train.tuned.Tuned`."""
    rate: float
    """The middle of the learning rates to try."""
    of_head: bool = False
    """Whether the rates are the head's, as nothing else is trained."""
    trained: Callable[[Any], dict[str, int]] | None = None
    """Trained values of adapter and head, where they aren't the sizes of the two groups of parameters."""
    targets: Targets = "all-linear"
    """The layers that it adapts, or would if it adapted any."""
    form: Callable[[Any], dict[str, Any]] | None = None
    """What `prepare` chose by measuring, for JSON; None for a method that chooses nothing."""
    again: Callable[[Loaded, dict[str, Any]], Any] | None = None
    """`prepare` once more, to a form that it chose before."""

    def rates(self, count: int) -> list[float]:
        """`count` learning rates around the middle one, each `√10` times the one before, to two digits.

        An odd count has `rate` itself in the middle, as it is.
        """
        steps = [place - (count - 1) / 2 for place in range(count)]
        return [float(f"{self.rate * 10 ** (step / 2):.2g}") if step else self.rate for step in steps]

    def count(self, tuned: Any) -> dict[str, int]:
        """Trained values: `adapter` and `head`."""
        if self.trained is not None:
            return self.trained(tuned)
        groups = tuned.trainable()
        return {kind: sum(value.numel() for _, value in groups[kind]) for kind in ("adapter", "head")}


def head_of(model: nn.Module, whole: Sequence[str]) -> list[tuple[str, nn.Parameter]]:
    """The parameters of the modules that every method trains whole."""
    return [
        (name, value)
        for name, value in model.named_parameters()
        if any(name.startswith(f"{module}.") for module in whole)
    ]
