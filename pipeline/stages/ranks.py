"""Which directions a run trains: those that a budget buys before training, those that moved after it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
import torch
from torch import nn

from export.core import Core
from export.store import FactorStore
from pipeline.config import AdapterSection, TrainSection
from pipeline.model.load import Loaded
from pipeline.svf import SVFit
from pipeline.svf.decompose import Decomposition, Progress, decompose
from pipeline.svf.narrow import narrowed
from pipeline.svf.rank import LORA_PART, lora_values
from pipeline.svf.score import Batch, score, warm_head
from pipeline.svf.spread import holding, spread
from pipeline.svf.targets import find_targets
from pipeline.svf.weights import oriented_weight
from pipeline.train.device import device_of
from pipeline.train.fit import Fit
from pipeline.train.learning import Learning, TrainRows

BATCHES = 16
PASSES = 3
"""Batches that directions are scored on, and how often the head sees them before."""


@dataclass(frozen=True)
class Ranks:
    """How the directions of each layer were chosen."""

    shapes: list[tuple[int, int]]
    """Of all layers that there were to choose from."""
    record: dict[str, Any]


def core_of(adapter: AdapterSection) -> Core:
    """The core that `adapter.core` and `adapter.bands` describe."""
    return Core("banded", adapter.bands or 1) if adapter.core == "banded" else Core(adapter.core)


def choose(
    loaded: Loaded,
    whole: Sequence[str],
    adapter: AdapterSection,
    train: TrainSection,
    learning: Learning,
    rows: TrainRows,
    progress: Progress | None = None,
    scoring: Progress | None = None,
) -> tuple[Ranks, Decomposition]:
    """What `adapter.rank = "auto"` trains, and the basis of it. The model is a plain one and stays as it is.

    `progress` tells of weights decomposed, `scoring` of batches. Raises `UsageError` for targets that match nothing.
    """
    targets, core, store = find_targets(loaded.model, adapter.targets, whole), core_of(adapter), FactorStore()
    shapes = [(int(out), int(inp)) for out, inp in (oriented_weight(module).shape for module in targets.values())]
    sizes = {name: min(shape) for name, shape in zip(targets, shapes, strict=True)}
    budget = adapter.budget or default_budget(shapes, core)
    if budget >= sum(core.count(size) for size in sizes.values()):
        found, by = decompose(targets, "full", store, progress), "all there are"
    else:
        known = decompose(targets, "full", store, progress)
        gains, by = _scores(loaded, whole, core, train, learning, rows, known, scoring), "by score"
        found = narrowed(known, spread(budget, core, gains), core)
    ranks = [layer.rank for layer in found.basis.layers.values()]
    record = {
        "budget": budget,
        "values": sum(core.count(rank) for rank in ranks),
        "layers": len(ranks),
        "of": len(targets),
        "least": min(ranks),
        "most": max(ranks),
        "by": by,
    }
    return Ranks(shapes, record), found


def default_budget(shapes: Sequence[tuple[int, int]], core: Core) -> int:
    """A sixteenth of what LoRA of rank 8 trains on weights of these shapes `(out, in)`; of a diagonal core at most
    half of its directions, as there would be little to choose else."""
    budget = lora_values(shapes) // LORA_PART
    if core.kind == "diagonal":
        budget = min(budget, sum(min(shape) for shape in shapes) // 2)
    return max(1, budget)


def told(record: Mapping[str, Any]) -> str:
    """One line: `20,736 values on 36 layers, 12 … 384 directions a layer, by score`."""
    layers = f"{record['layers']}" if record["layers"] == record["of"] else f"{record['layers']} of {record['of']}"
    least, most = record["least"], record["most"]
    ranks = f"{least}" if least == most else f"{least} … {most}"
    return f"{record['values']:,} values on {layers} layers, {ranks} directions a layer, {record['by']}"


def drop(
    svfit: SVFit, name: str, share: float, result: Fit, validation: TrainRows, before: Mapping[str, float]
) -> dict[str, Any]:
    """Narrow to the fewest directions that hold `share` of what adapter `name` learned.

    Gives how many there were and are, and the validation metrics before (measured where they aren't known) and after.
    """
    adapter, before = svfit.export(name), dict(before) or _measured(result, validation)
    svfit.narrow(holding(share, adapter.core, adapter.delta))
    return {
        "keep": share,
        "directions": adapter.basis.size,
        "kept": svfit.basis.size,
        "before": before,
        "after": _measured(result, validation),
    }


def told_of_drop(dropped: Mapping[str, Any], metric: str) -> str:
    """One line: `kept 5,120 of 13,824 directions: accuracy 0.927 → 0.926`."""
    before, after = dropped["before"][metric], dropped["after"][metric]
    return f"kept {dropped['kept']:,} of {dropped['directions']:,} directions: {metric} {before:.4f} → {after:.4f}"


def _measured(result: Fit, rows: Any) -> dict[str, float]:
    found = result.trainer.predict(rows, metric_key_prefix="eval").metrics or {}
    skipped = ("eval_runtime", "eval_samples_per_second", "eval_steps_per_second", "eval_model_preparation_time")
    return {key.removeprefix("eval_"): float(value) for key, value in found.items() if key not in skipped}


def _scores(
    loaded: Loaded,
    whole: Sequence[str],
    core: Core,
    train: TrainSection,
    learning: Learning,
    rows: TrainRows,
    known: Decomposition,
    progress: Progress | None,
) -> dict[str, torch.Tensor]:
    device = _device(train)
    batches = _batches(learning, rows, train, device)
    done = count(1)

    def loss(model: nn.Module, batch: Batch) -> torch.Tensor:
        if progress is not None:
            progress(next(done), len(batches) * (PASSES + 1), "")
        inputs = {key: value for key, value in batch.items() if key != "labels"}
        return learning.losses(model(**inputs), batch["labels"]).mean()

    model: Any = loaded.model
    model.to(device)
    with warm_head(model, whole, batches, loss, rate=train.head_learning_rate, passes=PASSES):
        scored = score(model, known.factors, batches, loss, core)
    model.to("cpu")
    return scored


def _batches(
    learning: Learning, rows: TrainRows, train: TrainSection, device: torch.device
) -> list[dict[str, torch.Tensor]]:
    """Random training rows, the same for the same seed."""
    places = np.random.default_rng(train.seed).permutation(len(rows))[: BATCHES * train.batch_size]
    parts = [places[start : start + train.batch_size] for start in range(0, len(places), train.batch_size)]
    return [
        {key: value.to(device) for key, value in learning.collate([rows[int(place)] for place in part]).items()}
        for part in parts
    ]


def _device(train: TrainSection) -> torch.device:
    """The GPU where one process has it to itself. Several must agree on every direction, so they score on the CPU."""
    alone, found = os.environ.get("WORLD_SIZE", "1") == "1", device_of(train.device)
    return found if alone and found.type == "cuda" else torch.device("cpu")
