"""What the rest of the pipeline sees of the data: three splits and their labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.data.pictures import Picture

CLASSIFICATION = "text-classification"
REGRESSION = "text-regression"


@dataclass(frozen=True)
class Split:
    """Rows of one split, in the order of their source (a carved split keeps that order too).

    `texts[i]` holds one text or a pair. `labels[i]` is an index into `Dataset.labels`, or the number, or
    what the task says.
    `source` is the file as it was named, or `dataset#split`; a validation split carved from the training
    rows says so. `sha256` is that of the source file; of the canonical JSON of the rows where there is no
    file of its own. `lines[i]` is the 1-based line (text files, first line of the row) or row (Parquet, hub)
    in the source; empty when not known. `images[i]` is a row's image; then there are no texts, and
    `augment` says how images are varied while they are learned from.
    """

    name: str
    texts: list[tuple[str, ...]]
    labels: list[Any]
    source: str
    sha256: str
    lines: list[int] = field(default_factory=list)
    images: list[Picture] = field(default_factory=list)
    augment: tuple[str, ...] = ()

    def first(self, count: int) -> Split:
        """The first rows."""
        return self.at(range(min(count, len(self.labels))))

    def at(self, places: Sequence[int]) -> Split:
        """Some rows, in the order of their places."""
        each: dict[str, Any] = {name: getattr(self, name) for name in ("texts", "labels", "lines", "images")}
        chosen: dict[str, Any] = {name: [rows[place] for place in places] for name, rows in each.items() if rows}
        return replace(self, **chosen)


@dataclass(frozen=True)
class Dataset:
    """A task's data. `labels` are the class names in order, empty for regression. `metrics` are what the rows can be
    measured by, where that isn't the same for all rows of the task; the first is what `auto` stands for."""

    task: str
    labels: tuple[str, ...]
    train: Split
    validation: Split
    test: Split | None
    metrics: tuple[str, ...] = ()

    def splits(self) -> tuple[Split, ...]:
        """The splits there are: train, validation and, if given, test."""
        return tuple(split for split in (self.train, self.validation, self.test) if split is not None)
