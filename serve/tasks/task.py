"""What each task says of itself, for whatever serves it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from serve.answers import Prediction
from serve.pieces import Encoder, Output, Prepared, Row
from serve.swap import Kind


@dataclass(frozen=True, slots=True)
class Asked:
    """Who a row is for: how many texts that takes, at most how many tokens (None: the bundle's), and how the row and
    the taker are called in errors."""

    texts: int
    max_length: int | None
    where: str
    taker: str = "this bundle"


class Task(Protocol):
    """A kind of question: how a row is taken, how its answer is made of the graph's outputs, and how that is shown."""

    name: str
    columns: tuple[str, ...]
    """The keys of `told` that a table has."""
    kind: Kind
    """Of a swappable bundle's heads, the ones that may answer it."""
    per_token: bool
    """Whether the graph gives (batch, sequence, width), and not (batch, width)."""

    def labels_problem(self, labels: Sequence[str], width: int | None = None) -> str:
        """What is wrong with these labels (for an output `width` wide), or ""."""
        ...

    def prepare(self, encoder: Encoder, row: Row, asked: Asked) -> Prepared:
        """A row, checked and encoded. Raises InputError that begins with `asked.where`."""
        ...

    def decide(self, outputs: Sequence[Output], prepared: Prepared, labels: Sequence[str]) -> Prediction:
        """The answer that the outputs of a row's pieces make; they are finite."""
        ...

    def told(self, prediction: Prediction, top: int | None = None, every: bool = True) -> dict[str, Any]:
        """An answer ready for JSON, with the `top` likeliest labels only, or without what isn't decided on."""
        ...
