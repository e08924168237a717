"""A bundle, six adapters and promoters over them, with a clock that a test moves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from tiny_bundle import LABELS
from tiny_swap import expected_logits, make_adapter, make_swap_bundle, tiny_delta, tiny_head

from serve.adapters.adapter import LoadedAdapter, read_adapter
from serve.bundle import Bundle
from serve.engine import Engine
from serve.promotion.promote import Event, Promoter
from serve.promotion.promoted import session_bytes
from serve.settings import SINGLE
from serve.tokenize import TextTokenizer

TEXTS = ["the pump is leaking again", "fan noisy", "", "pump pump pump"]


class Clock:
    """Seconds that pass when a test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Stage:
    """A bundle, adapters of seeds 0 to 5, and promoters that are closed at the end."""

    def __init__(self, folder: Path) -> None:
        self.bundle = Bundle.open(make_swap_bundle(folder / "bundle"))
        self.tokenizer = TextTokenizer(self.bundle)
        self.tokens = [self.tokenizer.encode(text) for text in TEXTS]
        self.engine = Engine(self.bundle, self.tokenizer, settings=SINGLE)
        self.folders = [make_adapter(folder / f"adapter{seed}", seed) for seed in range(6)]
        self.adapters = [self.load(seed) for seed in range(6)]
        self.opened: list[Promoter] = []
        self.events: list[Event] = []
        self.clock = Clock()

    def load(self, seed: int) -> LoadedAdapter:
        return read_adapter(self.folders[seed], self.bundle.manifest)

    def promoter(self, policy: Any = "never", slots: float = 8, **options: Any) -> Promoter:
        made = Promoter(
            self.bundle,
            policy=policy,
            budget_mb=slots * session_bytes(self.bundle) / 2**20,
            settings=SINGLE,
            on_event=self.events.append,
            clock=self.clock,
            **options,
        )
        self.opened.append(made)
        return made

    def expected(self, seed: int) -> np.ndarray[Any, Any]:
        head = tiny_head(seed, len(LABELS))
        return np.stack([expected_logits(row[0].tolist(), tiny_delta(seed), head) for row in self.tokens])

    def told(self) -> list[tuple[str, str]]:
        return [(event.kind, event.name) for event in self.events]


def names(promoter: Promoter) -> list[str]:
    assert promoter.settle(30)
    return [entry.name for entry in promoter.promoted()]
