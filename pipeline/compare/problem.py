"""What methods are compared on: rows, a fresh model for them, and how an answer is scored."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console

from pipeline.config import Config
from pipeline.config import load as load_config
from pipeline.model.load import Loaded
from pipeline.stages.context import Context
from pipeline.stages.finetune import max_length
from pipeline.tasks.words import headline, misfit
from pipeline.train.learning import Learning, TrainRows
from pipeline.train.scale import Scale
from serve.errors import UsageError


class Problem(Protocol):
    """Picklable, as every training has a process of its own."""

    @property
    def task(self) -> str:
        """Its name, as manifests have it."""
        ...

    @property
    def metric(self) -> str:
        """Decides, on validation, which epoch and which rate is best."""
        ...

    def model(self) -> Loaded:
        """A fresh one: the same encoder, a new head from torch's random state."""
        ...

    def learning(self, loaded: Loaded) -> Learning:
        """How it is trained."""
        ...

    def rows(self, split: str, loaded: Loaded) -> TrainRows:
        """`train`, `validation` or `test`."""
        ...

    def score(self, learning: Learning, outputs: Any, labels: Any) -> dict[str, float]:
        """Every metric of the outputs of what was learned."""
        ...


@dataclass(frozen=True)
class ConfiguredProblem:
    """The task of a configuration file. Pickled with what was read, so that every training sees the same rows."""

    path: Path
    overrides: tuple[str, ...] = ()

    @cached_property
    def context(self) -> Context:
        return _context(load_config(self.path, self.overrides, require_files=True))

    def __getstate__(self) -> dict[str, Any]:
        read = (self.context.config, self.context.source, self.context.dataset)
        return {"path": self.path, "overrides": self.overrides, "read": read}

    def __setstate__(self, state: dict[str, Any]) -> None:
        config, source, dataset = state.pop("read")
        context = _context(config)
        context.__dict__.update(source=source, dataset=dataset)
        self.__dict__.update(state, context=context)

    @property
    def task(self) -> str:
        return self.context.dataset.task

    @cached_property
    def metric(self) -> str:
        """Raises `UsageError` for a `train.metric` that says nothing about the task."""
        metrics = self.context.dataset.metrics
        metric = headline(self.task, self.context.config.train.metric, metrics)
        if problem := misfit(self.task, metric, metrics):
            raise UsageError(problem)
        return metric

    def model(self) -> Loaded:
        """What is trained whole is as `adapter.head_modules` has it, for every method."""
        config = self.context.config
        labels, pooling, dropout = self.context.dataset.labels, config.model.pooling, config.model.head_dropout
        loaded = self.context.task.load(self.context.source, labels, pooling=pooling, dropout=dropout)
        loaded = dataclasses.replace(loaded, dimensions=tuple(config.model.dimensions))
        if config.adapter.head_modules == "auto":
            return loaded
        modules = dict(loaded.model.named_modules())
        missing = next((name for name in config.adapter.head_modules if name not in modules), None)
        if missing is not None:
            raise UsageError(f"adapter.head_modules: the model has no module {missing!r}")
        return dataclasses.replace(loaded, whole=tuple(config.adapter.head_modules))

    def learning(self, loaded: Loaded) -> Learning:
        return self.context.task.learning(loaded)

    def rows(self, split: str, loaded: Loaded) -> TrainRows:
        dataset = self.context.dataset
        found = next(one for one in dataset.splits() if one.name == split)
        if self.task == "text-regression":
            scale = Scale.of(dataset.train.labels)
            found = dataclasses.replace(found, labels=scale.apply(found.labels))
        length = max_length(self.context, loaded)
        return self.context.task.rows(loaded, found, length, training=split == "train")

    def score(self, learning: Learning, outputs: Any, labels: Any) -> dict[str, float]:
        if self.task == "text-regression":
            scale = Scale.of(self.context.dataset.train.labels)
            outputs, labels = (values * scale.deviation + scale.mean for values in (outputs, labels))
        return learning.score(outputs, labels)


def _context(config: Config) -> Context:
    return Context(config, Path(), Console(stderr=True, quiet=True))
