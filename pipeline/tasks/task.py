"""What each task says of itself, for the stages: how rows are read, learned from, measured, and handed to a device."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from export.parity import Batch
from pipeline.config.schema import Config, DataSection
from pipeline.data import Dataset, Split
from pipeline.model.load import Loaded
from pipeline.model.source import Source
from pipeline.train.learning import Learning, TrainRows
from serve.answers import Prediction
from serve.manifest import Inputs
from serve.pieces import Output, Prepared, Row


class Task(Protocol):
    """A kind of question. `serve.tasks` has the other half: how a row is answered on the device."""

    name: str

    # data
    def read(self, data: DataSection, seed: int) -> Dataset:
        """The rows. Raises `UsageError` and `InputError`, with file and line."""
        ...

    def profile(self, dataset: Dataset, loaded: Loaded, length: int) -> dict[str, Any]:
        """What the rows look like, as `pipeline.data.profile` has it."""
        ...

    # model
    def load(self, source: Source, labels: Sequence[str], *, pooling: str, dropout: float) -> Loaded:
        """The base model in float32 with what the task puts on it. Raises `InputError`."""
        ...

    def merged(self, folder: Path) -> Loaded:
        """The same for the folder of a merged model."""
        ...

    # training
    def learning(self, loaded: Loaded) -> Learning:
        """How rows become batches, and answers a loss and metrics."""
        ...

    def rows(self, loaded: Loaded, split: Split, length: int, *, training: bool = False) -> TrainRows:
        """A split's rows as the model takes them, `length` tokens at most; `training`: may be varied at random."""
        ...

    def card(self, dataset: Dataset, config: Config) -> dict[str, Any]:
        """What the adapter's card holds of this task besides what all have."""
        ...

    # graph and device
    def inputs(self, names: Sequence[str], loaded: Loaded, card: dict[str, Any]) -> Inputs:
        """What the exported graph takes."""
        ...

    def batches(self, inputs: Inputs, loaded: Loaded, length: int, seed: int) -> list[Batch]:
        """Random inputs of many shapes, `length` tokens at most, for comparing a graph with its model."""
        ...

    def served(self, split: Split) -> Sequence[Row]:
        """The split's rows as a bundle takes them; images are read as they are taken out."""
        ...

    def detail(
        self, split: Split, labels: Sequence[str], rows: Sequence[Prepared], outputs: Sequence[Sequence[Output]]
    ) -> dict[str, Any]:
        """Every metric, and what the report tells of them; `rows` and `outputs` of each are those of `served`."""
        ...

    def example(self, split: Split, labels: Sequence[str], place: int, answer: Prediction) -> dict[str, Any]:
        """A row, its answer and the truth for the report; `place` is the row's among `served`."""
        ...
