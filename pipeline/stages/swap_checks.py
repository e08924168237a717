"""The gates of a swappable graph: fed an adapter it is its model, fed nothing the base, mixed rows are as alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from export.adapter import Adapter
from export.parity import ParityRow, check_parity, gate_parity, summary
from export.swap.draft import Draft
from pipeline.stages.context import Context
from pipeline.stages.unfolded import with_adapter
from serve.adapters.adapter import LoadedAdapter
from serve.errors import GateError
from serve.pieces import Piece
from serve.tasks import task_of
from serve.tasks.task import Asked

MIXED = 16


def check_swap(
    tasks: Mapping[str, tuple[Context, Adapter]], draft: Draft, loaded: Mapping[str, LoadedAdapter], limit: float
) -> dict[str, Any]:
    """Compare with PyTorch, task by task and without an adapter, then mixed batches with rows alone.

    Returns what a manifest keeps of a parity check, with `mixed`, the largest difference of a row in mixed company.
    Raises `GateError` that names what differs.
    """
    rows: list[ParityRow] = []
    unit = 1.0
    for name, (run, adapter) in tasks.items():
        unit = max(unit, adapter.card["unit"])
        fed = loaded[name]
        none = replace(fed, sigma=np.zeros_like(fed.sigma))
        for values, one in ((adapter, fed), (_without(adapter), none)):
            model, _ = with_adapter(run, values)
            seed = run.config.train.seed
            batches = run.task.batches(draft.manifest.input, model, adapter.card["max_length"], seed)
            session = _Fed(draft, one, name)
            rows += check_parity(model.model, session, batches, limit * adapter.card["unit"])
    gate_parity(rows)
    return {**summary(rows), "mixed": _mixed(tasks, draft, loaded, limit * unit)}


def _without(adapter: Adapter) -> Adapter:
    return replace(adapter, delta={name: torch.zeros_like(value) for name, value in adapter.delta.items()})


def _mixed(
    tasks: Mapping[str, tuple[Context, Adapter]],
    draft: Draft,
    loaded: Mapping[str, LoadedAdapter],
    limit: float,
) -> float:
    """Rows of every task, taking turns with two adapters each (the own one, and none), against each row alone."""
    encoded: list[tuple[Piece, LoadedAdapter]] = []
    for name, (run, _) in tasks.items():
        none = replace(loaded[name], sigma=np.zeros_like(loaded[name].sigma))
        asked = Asked(draft.manifest.input.text, None, name)
        for place, row in enumerate(run.task.served(run.dataset.validation.first(MIXED))):
            for piece in task_of(run.task.name).prepare(draft.encoder, row, asked).pieces:
                encoded.append((piece, none if place % 4 == 3 else loaded[name]))
    together = draft.engine.run([piece for piece, _ in encoded], [one for _, one in encoded])
    alone = [draft.engine.run([piece], [one])[0] for piece, one in encoded]
    worst = max(float(np.abs(mixed - single).max()) for mixed, single in zip(together, alone, strict=True))
    if not worst <= limit:
        raise GateError(f"swap: a row in mixed company differs by {worst:.3g} from the row alone; allowed {limit:.3g}")
    return worst


@dataclass(frozen=True)
class _Output:
    name: str


@dataclass(frozen=True)
class _Fed:
    """One adapter on the swappable graphs, as a parity check takes a session."""

    draft: Draft
    adapter: LoadedAdapter
    name: str

    def get_outputs(self) -> list[_Output]:
        return [_Output(self.draft.swap.head(self.adapter.head).output)]

    def run(self, names: list[str], feeds: Mapping[str, Any]) -> list[Any]:
        return [self.draft.engine.feed(dict(feeds), self.adapter)]
