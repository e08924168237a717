"""What methods are compared on: rows, a fresh model for them, and how an answer is scored."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console

from pipeline.config import load as load_config
from pipeline.model.load import Loaded, load
from pipeline.stages.context import Context
from pipeline.stages.finetune import max_length
from pipeline.train.metrics import headline, score
from pipeline.train.rows import Rows
from pipeline.train.scale import Scale


class Problem(Protocol):
    """Picklable, as every training has a process of its own."""

    @property
    def task(self) -> str:
        """As `pipeline.train.fit` knows it."""
        ...

    @property
    def metric(self) -> str:
        """Decides, on validation, which epoch and which rate is best."""
        ...

    def model(self) -> Loaded:
        """A fresh one: the same encoder, a new head from torch's random state."""
        ...

    def rows(self, split: str, loaded: Loaded) -> Rows:
        """`train`, `validation` or `test`."""
        ...

    def score(self, logits: Any, labels: Any) -> dict[str, float]:
        """Every metric."""
        ...


@dataclass(frozen=True)
class ConfiguredProblem:
    """The task of a configuration file."""

    path: Path
    overrides: tuple[str, ...] = ()

    @property
    def context(self) -> Context:
        if "_context" not in self.__dict__:
            config = load_config(self.path, self.overrides, require_files=True)
            object.__setattr__(self, "_context", Context(config, Path(), Console(stderr=True, quiet=True)))
        context: Context = self.__dict__["_context"]
        return context

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "overrides": self.overrides}

    @property
    def task(self) -> str:
        return self.context.dataset.task

    @property
    def metric(self) -> str:
        return headline(self.task, self.context.config.train.metric)

    def model(self) -> Loaded:
        model = self.context.config.model
        labels = self.context.dataset.labels
        return load(self.context.source, labels, pooling=model.pooling, dropout=model.head_dropout)

    def rows(self, split: str, loaded: Loaded) -> Rows:
        dataset = self.context.dataset
        found = next(one for one in dataset.splits() if one.name == split)
        labels = found.labels
        if self.task == "text-regression":
            labels = Scale.of(dataset.train.labels).apply(labels)
        return Rows(loaded.tokenizer, found.texts, labels, max_length(self.context, loaded))

    def score(self, logits: Any, labels: Any) -> dict[str, float]:
        if self.task == "text-regression":
            scale = Scale.of(self.context.dataset.train.labels)
            logits, labels = (values * scale.deviation + scale.mean for values in (logits, labels))
        return score(self.task, logits, labels)
