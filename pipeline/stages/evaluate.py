"""Measure a graph on the run's rows, through the encoding that a device has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from export.adapter import read_card
from pipeline.data import Split
from pipeline.stages.context import Context
from pipeline.tasks import task_of
from pipeline.tasks.words import headline
from serve.batching.queueing import in_batches
from serve.encoder import encoder_in
from serve.manifest import Inputs, OutputSpec
from serve.pieces import Output, Piece, Prepared, Row, length
from serve.session import GraphSession, Session
from serve.tasks import task_of as served_task_of
from serve.tasks.task import Asked

BATCH = 16
MEASURED = 4
Feeds = dict[str, npt.NDArray[Any]]
Graph = Path | Session
"""An ONNX file that gives outputs, or whatever is open and gives them."""


@dataclass(frozen=True)
class Answers:
    """Rows as a device takes them, and the outputs of each one's pieces."""

    rows: list[Prepared]
    outputs: list[list[Output]]

    @property
    def pieces(self) -> list[Piece]:
        """All that ran."""
        return [piece for row in self.rows for piece in row.pieces]

    @property
    def flat(self) -> list[Output]:
        """The output of each of the pieces."""
        return [output for own in self.outputs for output in own]


class Evaluation:
    """Encodes a split's rows once, when they are first asked for; each graph is then run on them."""

    def __init__(self, context: Context, inputs: Inputs) -> None:
        card = read_card(context.path("adapter"))["card"]
        self.task = task_of(card["task"])
        self.labels: list[str] = card["labels"]
        metrics = context.dataset.metrics
        self.metric = headline(self.task.name, context.config.train.metric, metrics)
        if self.metric == "loss":
            self.metric = headline(self.task.name, metrics=metrics)
        self.inputs = inputs
        self.served = served_task_of(self.task.name)
        self.output = OutputSpec(card.get("output", "logits"), width_of(card), self.served.per_token)
        self.encoder = encoder_in(context.path("merged"), inputs)
        dataset = context.dataset
        self.splits = {split.name: split for split in dataset.splits() if split.name != "train"}
        self._prepared: dict[str, list[Prepared]] = {}

    def metrics(self, graph: Graph, split: str) -> dict[str, Any]:
        """All metrics of one split, and what the report tells of them."""
        found = self._run(graph, self.split(split))
        return self.task.detail(self.splits[split], self.labels, found.rows, found.outputs)

    def every(self, graph: Graph) -> dict[str, dict[str, Any]]:
        """Split name → metrics."""
        return {split: self.metrics(graph, split) for split in self.splits}

    def headline(self, graph: Graph) -> float:
        """The deciding metric on the validation rows, in 0 to 1."""
        return float(self.metrics(graph, "validation")[self.metric])

    def difference(self, first: Graph, second: Graph) -> float:
        """Largest absolute difference of two graphs' outputs on the validation rows."""
        found = [self._run(graph, self.split("validation")).flat for graph in (first, second)]
        return max(float(np.abs(one - other).max()) for one, other in zip(*found, strict=True))

    def largest(self, graph: Graph) -> float:
        """Largest absolute output on the validation rows."""
        return max(float(np.abs(output).max()) for output in self._run(graph, self.split("validation")).flat)

    def median_row(self) -> Feeds:
        """The piece of median length among the validation rows', alone in its batch."""
        pieces = sorted(self.pieces(self.split("validation")), key=length)
        return self.encoder.pad([pieces[len(pieces) // 2]])

    def feeds(self, split: str, batch: int) -> list[Feeds]:
        """Some of a split's real rows in batches of `batch`, spread over it, for ranking layers."""
        pieces = self.pieces(self.split(split))
        count = min(MEASURED, len(pieces) // batch or 1)
        places = np.linspace(0, max(0, len(pieces) - batch), count).astype(int)
        return [self.encoder.pad(pieces[start : start + batch]) for start in places]

    def some(self, split: Split, count: int, batch: int) -> list[Feeds]:
        """So many of a split's rows, spread over it, in batches alike in length."""
        rows = self.task.served(split)
        chosen = [rows[place] for place in np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int)]
        pieces = sorted(self.pieces(self.prepare(chosen)), key=length)
        return [self.encoder.pad(pieces[start : start + batch]) for start in range(0, len(pieces), batch)]

    def answers(self, graph: Graph, split: Split) -> Answers:
        """What a graph gives any rows of the run, in their order."""
        return self._run(graph, self.prepare(self.task.served(split)))

    def split(self, name: str) -> list[Prepared]:
        """The rows of a split, encoded."""
        if name not in self._prepared:
            self._prepared[name] = self.prepare(self.task.served(self.splits[name]))
        return self._prepared[name]

    def prepare(self, rows: Sequence[Row]) -> list[Prepared]:
        """Rows as a bundle's encoder makes them."""
        return [
            self.served.prepare(self.encoder, row, Asked(self.inputs.text, None, f"row {place}"))
            for place, row in enumerate(rows, start=1)
        ]

    @staticmethod
    def pieces(rows: Sequence[Prepared]) -> list[Piece]:
        """All that rows are made of."""
        return [piece for row in rows for piece in row.pieces]

    def _run(self, graph: Graph, rows: list[Prepared]) -> Answers:
        session = GraphSession(graph, self.inputs, self.output) if isinstance(graph, Path) else graph
        pieces = self.pieces(rows)

        def run(places: Sequence[int]) -> list[Output]:
            batch = [pieces[place] for place in places]
            return self.encoder.split(session.run(self.encoder.pad(batch)), batch)

        outputs = iter(in_batches(run, pieces, BATCH))
        return Answers(rows, [[next(outputs) for _ in row.pieces] for row in rows])


def width_of(card: dict[str, Any]) -> int:
    """How many numbers a model with this card gives at once: as many as it has labels, unless the card says."""
    return int(card.get("width") or max(1, len(card["labels"])))


def scalars(metrics: dict[str, Any]) -> dict[str, float]:
    """The single numbers of a metrics document; per-class results stay in the report."""
    return {key: value for key, value in metrics.items() if isinstance(value, int | float)}
