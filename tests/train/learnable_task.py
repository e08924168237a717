"""A task that a tiny model learns in seconds: two kinds of words, two labels."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from export.store import FactorStore
from pipeline.svf import SVFit, wrap
from pipeline.train.fit import Fit, fit
from pipeline.train.learning import ForTexts
from pipeline.train.plan import Plan
from pipeline.train.rows import Rows

FIRST = ("pump", "leak", "valve", "cold")
SECOND = ("lamp", "dark", "bright", "door")
NEITHER = ("fan", "noise", "hot", "line")


@dataclass
class Task:
    """`task(**plan)` trains a fresh tiny model and gives what it left; `.svfit` is what was trained."""

    model: Callable[..., Any]
    tokenizer: Any
    folder: Path
    name: str = "bert"
    kind: str = "text-classification"
    labels: int = 2
    count: int = 96
    svfit: SVFit = field(init=False)

    def rows(self, seed: int, count: int) -> Rows:
        chance = random.Random(seed)  # noqa: S311
        labels = [chance.randrange(2) for _ in range(count)]
        texts = []
        for label in labels:
            words = chance.choices((FIRST, SECOND)[label], k=2) + chance.choices(NEITHER, k=chance.randint(1, 5))
            chance.shuffle(words)
            texts.append((" ".join(words),))
        return Rows(self.tokenizer, texts, labels, 16)

    def __call__(self, folder: str = "out", **changes: Any) -> Fit:
        model = self.model(self.name, labels=self.labels)
        self.svfit = wrap(model, store=FactorStore(self.folder / "store"))
        self.svfit.add("default")
        self.svfit.activate("default")
        defaults = {"epochs": 3, "batch_size": 16, "device": "cpu", "learning_rate": 0.1, "head_learning_rate": 0.01}
        return fit(
            self.svfit,
            ForTexts(self.tokenizer, self.kind),
            self.rows(1, self.count),
            self.rows(2, 32),
            plan=Plan(**{**defaults, **changes}),
            folder=self.folder / folder,
            console=Console(quiet=True),
        )
