"""What a training must know of whatever is learned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from pipeline.train.loss import losses
from pipeline.train.metrics import score
from pipeline.train.rows import Collator


class TrainRows(Protocol):
    """Rows as a model takes them, not batched: each a mapping with `labels`."""

    labels: list[Any]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> dict[str, Any]: ...

    def length(self, index: int) -> int:
        """What a row takes of a batch's padding: its tokens; 1 where all rows are alike."""
        ...


class Learning(Protocol):
    """Rows to batches, answers to a loss and to metrics."""

    output: str
    """The field of a model's answer that all is about."""
    by_length: bool
    """Whether rows of like length should share a batch."""

    def collate(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Rows to a padded batch, with `labels`."""
        ...

    def losses(
        self, answer: Any, labels: torch.Tensor, *, weight: torch.Tensor | None = None, smoothing: float = 0.0
    ) -> torch.Tensor:
        """The loss of each row, or of each labelled token, float32. `weight (classes,)` and `smoothing` are for
        classes."""
        ...

    def score(self, outputs: NDArray[Any], labels: NDArray[Any]) -> dict[str, float]:
        """Metrics of all rows' outputs; padded, where rows have one for each token."""
        ...


class ForTexts:
    """Learning a class or a number for each text, by a model with `logits`."""

    output = "logits"
    by_length = True

    def __init__(self, tokenizer: PreTrainedTokenizerBase, task: str) -> None:
        self._task, self._collate = task, Collator(tokenizer, task)

    def collate(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        return self._collate(rows)

    def losses(
        self, answer: Any, labels: torch.Tensor, *, weight: torch.Tensor | None = None, smoothing: float = 0.0
    ) -> torch.Tensor:
        return losses(answer.logits, labels, weight=weight, smoothing=smoothing)

    def score(self, outputs: NDArray[Any], labels: NDArray[Any]) -> dict[str, float]:
        return score(self._task, outputs, labels)


def inputs_of(learning: Learning, rows: TrainRows, places: Sequence[int]) -> dict[str, torch.Tensor]:
    """Some rows as a padded batch, without their labels."""
    batch = learning.collate([rows[place] for place in places])
    return {name: value for name, value in batch.items() if name != "labels"}


def sample_of(learning: Learning, rows: TrainRows) -> dict[str, torch.Tensor]:
    """All rows as a graph takes them: a row of several texts gives as many lines."""
    batch = inputs_of(learning, rows, range(len(rows)))
    return {name: value.flatten(0, 1) if value.dim() == 3 else value for name, value in batch.items()}
