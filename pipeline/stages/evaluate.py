"""Measure a graph on the run's rows, through the tokenization that a device has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from export.adapter import read_card
from pipeline.data import Split
from pipeline.stages.context import Context
from pipeline.train.metrics import detail, headline
from serve.manifest import InputSpec, OutputSpec
from serve.session import GraphSession, Session
from serve.tokenize import Row, TextTokenizer

BATCH = 16
MEASURED = 4
Batches = list[tuple[npt.NDArray[np.intp], dict[str, npt.NDArray[np.int64]]]]
"""Places of rows, and their inputs."""
Graph = Path | Session
"""An ONNX file that gives logits, or whatever is open and gives them."""


class Evaluation:
    """Tokenizes a split's rows once, when they are first asked for; each graph is then run on them."""

    def __init__(self, context: Context, inputs: InputSpec) -> None:
        card = read_card(context.path("adapter"))["card"]
        self.task: str = card["task"]
        self.labels: list[str] = card["labels"]
        self.metric = headline(self.task, context.config.train.metric)
        if self.metric == "loss":
            self.metric = headline(self.task)
        self.inputs = inputs
        self.output = OutputSpec("logits", max(1, len(self.labels)))
        self.tokenizer = TextTokenizer.from_file(context.path("merged") / "tokenizer.json", inputs)
        dataset = context.dataset
        self.splits = {split.name: split for split in (dataset.validation, dataset.test) if split}
        self._tokenized: dict[str, Batches] = {}

    def metrics(self, graph: Graph, split: str) -> dict[str, Any]:
        """All metrics of one split, per class and confusion included."""
        return detail(self.task, self.labels, self._logits(graph, split), self.splits[split].labels)

    def every(self, graph: Graph) -> dict[str, dict[str, Any]]:
        """Split name → metrics."""
        return {split: self.metrics(graph, split) for split in self.splits}

    def headline(self, graph: Graph) -> float:
        """The deciding metric on the validation rows, in 0 to 1."""
        return float(self.metrics(graph, "validation")[self.metric])

    def difference(self, first: Graph, second: Graph) -> float:
        """Largest absolute difference of two graphs' logits on the validation rows."""
        logits = [self._logits(graph, "validation") for graph in (first, second)]
        return float(np.abs(logits[0] - logits[1]).max())

    def median_row(self) -> dict[str, npt.NDArray[np.int64]]:
        """The validation row of median length in characters, alone in its batch."""
        rows = as_rows(self.splits["validation"])
        return self.tokenizer([sorted(rows, key=_length)[len(rows) // 2]])

    def feeds(self, split: str, batch: int) -> list[dict[str, npt.NDArray[np.int64]]]:
        """Some of a split's real rows in batches of `batch`, spread over its lengths, for ranking layers."""
        rows = as_rows(self.splits[split])
        count = min(MEASURED, len(rows) // batch or 1)
        places = np.linspace(0, max(0, len(rows) - batch), count).astype(int)
        return [self.tokenizer(rows[start : start + batch]) for start in places]

    def answers(self, graph: Graph, split: Split) -> npt.NDArray[np.float32]:
        """The logits of any rows of the run, float32 (rows, outputs), in their order."""
        return self._run(graph, self._tokenize(split), len(split.labels))

    def _logits(self, graph: Graph, split: str) -> npt.NDArray[np.float32]:
        if split not in self._tokenized:
            self._tokenized[split] = self._tokenize(self.splits[split])
        return self._run(graph, self._tokenized[split], len(self.splits[split].labels))

    def _run(self, graph: Graph, batches: Batches, rows: int) -> npt.NDArray[np.float32]:
        session = GraphSession(graph, self.inputs, self.output) if isinstance(graph, Path) else graph
        logits = np.empty((rows, self.output.width), dtype=np.float32)
        for places, feeds in batches:
            logits[places] = session.run(feeds)
        return logits

    def _tokenize(self, split: Split) -> Batches:
        rows = as_rows(split)
        order = np.argsort([_length(row) for row in rows], kind="stable")
        places = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
        return [(place, self.tokenizer([rows[index] for index in place])) for place in places]


def scalars(metrics: dict[str, Any]) -> dict[str, float]:
    """The single numbers of a metrics document; per-class results stay in the report."""
    return {key: value for key, value in metrics.items() if isinstance(value, int | float)}


def as_rows(split: Split) -> list[Row]:
    """The split's texts as a bundle takes them."""
    return [row[0] if len(row) == 1 else (row[0], row[1]) for row in split.texts]


def _length(row: Row) -> int:
    return len(row) if isinstance(row, str) else len(row[0]) + len(row[1])
