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
CACHED = 256 * 2**20
"""Bytes of a split's encoded rows that stay in memory between two graphs; images of many rows are read again."""
CHUNK = 256
"""Rows that are encoded at a time where they don't."""
Feeds = dict[str, npt.NDArray[Any]]
Graph = Path | Session
"""An ONNX file that gives outputs, or whatever is open and gives them."""


@dataclass(frozen=True)
class Answers:
    """Rows as a device takes them (their pieces only where all stayed in memory), and the outputs of each one's."""

    rows: list[Prepared]
    outputs: list[list[Output]]

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
        self._prepared: dict[str, list[Prepared] | None] = {}

    def metrics(self, graph: Graph, split: str) -> dict[str, Any]:
        """All metrics of one split, and what the report tells of them."""
        found = self._measured(graph, split)
        return self.task.detail(self.splits[split], self.labels, found.rows, found.outputs)

    def every(self, graph: Graph) -> dict[str, dict[str, Any]]:
        """Split name → metrics."""
        return {split: self.metrics(graph, split) for split in self.splits}

    def headline(self, graph: Graph) -> float:
        """The deciding metric on the validation rows, in 0 to 1."""
        return float(self.metrics(graph, "validation")[self.metric])

    def difference(self, first: Graph, second: Graph) -> float:
        """Largest absolute difference of two graphs' outputs on the validation rows."""
        found = [self._measured(graph, "validation").flat for graph in (first, second)]
        return max(float(np.abs(one - other).max()) for one, other in zip(*found, strict=True))

    def largest(self, graph: Graph) -> float:
        """Largest absolute output on the validation rows."""
        return max(float(np.abs(output).max()) for output in self._measured(graph, "validation").flat)

    def median_row(self) -> Feeds:
        """The piece of median length among some validation rows', alone in its batch."""
        pieces = sorted(self._some(self.splits["validation"], CHUNK), key=length)
        return self.encoder.pad([pieces[len(pieces) // 2]])

    def feeds(self, split: str, batch: int) -> list[Feeds]:
        """Some of a split's real rows in batches of `batch`, spread over it, for ranking layers."""
        rows = self.task.served(self.splits[split])
        count = min(MEASURED, len(rows) // batch or 1)
        starts = np.linspace(0, max(0, len(rows) - batch), count).astype(int)
        parts = [pieces_of(self.prepare(rows[start : start + batch])) for start in starts]
        return [self.encoder.pad(part[:batch]) for part in parts]

    def some(self, split: Split, count: int, batch: int) -> list[Feeds]:
        """So many of a split's rows, spread over it, in batches alike in length."""
        pieces = sorted(self._some(split, count), key=length)
        return [self.encoder.pad(pieces[start : start + batch]) for start in range(0, len(pieces), batch)]

    def imitated(self, graph: Graph, split: Split) -> tuple[list[Piece], list[Output]]:
        """All pieces of any rows of the run, and what a graph gives each."""
        rows = self.prepare(self.task.served(split))
        return pieces_of(rows), [output for own in self._run(graph, rows) for output in own]

    def prepare(self, rows: Sequence[Row], first: int = 0) -> list[Prepared]:
        """Rows as a bundle's encoder makes them; they are called by their number from `first` on."""
        return [
            self.served.prepare(self.encoder, row, Asked(self.inputs.text, None, f"row {place}"))
            for place, row in enumerate(rows, start=first + 1)
        ]

    def _some(self, split: Split, count: int) -> list[Piece]:
        rows = self.task.served(split)
        places = np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int)
        return pieces_of(self.prepare([rows[place] for place in places]))

    def _measured(self, graph: Graph, name: str) -> Answers:
        rows = self.task.served(self.splits[name])
        if name not in self._prepared:
            self._prepared[name] = self._held(rows)
        held = self._prepared[name]
        if held is not None:
            return Answers(held, self._run(graph, held))
        found, session = Answers([], []), self._open(graph)
        for start in range(0, len(rows), CHUNK):
            part = self.prepare(rows[start : start + CHUNK], start)
            found.outputs.extend(self._run(session, part))
            found.rows.extend(Prepared((), row.note) for row in part)
        return found

    def _held(self, rows: Sequence[Row]) -> list[Prepared] | None:
        """All rows encoded; None where they take more than may stay."""
        held: list[Prepared] = []
        size = 0
        for start in range(0, len(rows), CHUNK):
            part = self.prepare(rows[start : start + CHUNK], start)
            size += sum(piece.nbytes for piece in pieces_of(part))
            if size > CACHED:
                return None
            held += part
        return held

    def _run(self, graph: Graph, rows: Sequence[Prepared]) -> list[list[Output]]:
        """The outputs of each row's pieces."""
        session, pieces = self._open(graph), pieces_of(rows)

        def run(places: Sequence[int]) -> list[Output]:
            batch = [pieces[place] for place in places]
            return self.encoder.split(session.run(self.encoder.pad(batch)), batch)

        outputs = iter(in_batches(run, pieces, BATCH))
        return [[next(outputs) for _ in row.pieces] for row in rows]

    def _open(self, graph: Graph) -> Session:
        return GraphSession(graph, self.inputs, self.output) if isinstance(graph, Path) else graph


def pieces_of(rows: Sequence[Prepared]) -> list[Piece]:
    """All that rows are made of."""
    return [piece for row in rows for piece in row.pieces]


def width_of(card: dict[str, Any]) -> int:
    """How many numbers a model with this card gives at once: as many as it has labels, unless the card says."""
    return int(card.get("width") or max(1, len(card["labels"])))


def scalars(metrics: dict[str, Any]) -> dict[str, float]:
    """The single numbers of a metrics document; per-class results stay in the report."""
    return {key: value for key, value in metrics.items() if isinstance(value, int | float)}
