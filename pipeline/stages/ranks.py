"""Which directions a run trains: those that a budget buys before training, those that moved after it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from export.core import Core
from export.store import FactorStore
from pipeline.config import AdapterSection, TrainSection
from pipeline.model.load import Loaded
from pipeline.svf import SVFit
from pipeline.svf.decompose import Decomposition, Progress, decompose
from pipeline.svf.rank import lora_values
from pipeline.svf.score import Batch, score, warm_head
from pipeline.svf.spread import Chosen, by_energy, evenly, holding, spread
from pipeline.svf.targets import find_targets
from pipeline.train.fit import Fit
from pipeline.train.metrics import TOKENS
from pipeline.train.rows import IGNORED, Collator, Rows

BATCHES = 16
PASSES = 3
"""Batches that directions are scored on, and how often the head sees them before."""
SHARE = 16
"""The default budget is this part of what LoRA trains on the same layers."""


@dataclass(frozen=True)
class Ranks:
    """The directions of each layer, how they were chosen, and what the decomposition cost."""

    chosen: Chosen
    shapes: list[tuple[int, int]]
    """Of all layers that there were to choose from."""
    record: dict[str, Any]
    seconds: float
    computed: int


def core_of(adapter: AdapterSection) -> Core:
    """The core that `adapter.core` and `adapter.bands` describe."""
    return Core("banded", adapter.bands or 1) if adapter.core == "banded" else Core(adapter.core)


def choose(
    loaded: Loaded,
    whole: Sequence[str],
    adapter: AdapterSection,
    train: TrainSection,
    task: str,
    rows: Rows,
    progress: Progress | None = None,
) -> Ranks:
    """What `adapter.rank = "auto"` trains. The model is a plain one and stays as it is.

    Raises `UsageError` for targets that match nothing.
    """
    found = decompose(find_targets(loaded.model, adapter.targets, whole), "full", FactorStore(), progress)
    core = core_of(adapter)
    shapes = [layer.shape for layer in found.basis.layers.values()]
    budget = adapter.budget or lora_values(shapes) // SHARE
    if core.kind == "diagonal" and budget >= found.basis.size:
        chosen = {name: list(range(layer.rank)) for name, layer in found.basis.layers.items()}
        by = "all there are"
    else:
        chosen = spread(budget, core, _gains(loaded, whole, adapter, train, task, rows, found))
        by = {"score": "by score", "energy": "by energy", "uniform": "evenly"}[adapter.spread]
    ranks = [len(places) for places in chosen.values()]
    record = {
        "budget": budget,
        "values": sum(core.count(rank) for rank in ranks),
        "layers": len(ranks),
        "of": len(found.basis.layers),
        "least": min(ranks),
        "most": max(ranks),
        "by": by,
    }
    return Ranks(chosen, shapes, record, found.seconds, found.computed)


def told(record: Mapping[str, Any]) -> str:
    """One line: `20,736 values on 36 layers, 12 … 384 directions a layer, by score`."""
    layers = f"{record['layers']}" if record["layers"] == record["of"] else f"{record['layers']} of {record['of']}"
    least, most = record["least"], record["most"]
    ranks = f"{least}" if least == most else f"{least} … {most}"
    return f"{record['values']:,} values on {layers} layers, {ranks} directions a layer, {record['by']}"


def drop(svfit: SVFit, name: str, share: float, result: Fit, validation: Rows) -> dict[str, Any]:
    """Narrow to the fewest directions that hold `share` of what adapter `name` learned.

    Gives how many there were and are, and the validation metrics before and after.
    """
    adapter, before = svfit.export(name), _measured(result, validation)
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


def _measured(result: Fit, rows: Rows) -> dict[str, float]:
    found = result.trainer.predict(rows, metric_key_prefix="eval").metrics or {}
    skipped = ("eval_runtime", "eval_samples_per_second", "eval_steps_per_second", "eval_model_preparation_time")
    return {key.removeprefix("eval_"): float(value) for key, value in found.items() if key not in skipped}


def _gains(
    loaded: Loaded,
    whole: Sequence[str],
    adapter: AdapterSection,
    train: TrainSection,
    task: str,
    rows: Rows,
    found: Decomposition,
) -> dict[str, torch.Tensor]:
    if adapter.spread == "energy":
        return by_energy(found.spectra)
    if adapter.spread == "uniform":
        return evenly(found.spectra)
    device = _device(train)
    batches = _batches(loaded, rows, task, train, device)

    def loss(model: nn.Module, batch: Batch) -> torch.Tensor:
        inputs = {key: value for key, value in batch.items() if key != "labels"}
        logits: torch.Tensor = model(**inputs).logits.float()
        if task == TOKENS:
            return functional.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten(), ignore_index=IGNORED)
        if batch["labels"].dtype.is_floating_point:
            return functional.mse_loss(logits.squeeze(-1), batch["labels"])
        return functional.cross_entropy(logits, batch["labels"])

    model: Any = loaded.model
    model.to(device)
    with warm_head(model, whole, batches, loss, rate=train.head_learning_rate, passes=PASSES):
        scored = score(model, found.factors, batches, loss, core_of(adapter))
    model.to("cpu")
    return scored


def _batches(
    loaded: Loaded, rows: Rows, task: str, train: TrainSection, device: torch.device
) -> list[dict[str, torch.Tensor]]:
    """Random training rows, the same for the same seed."""
    places = np.random.default_rng(train.seed).permutation(len(rows))[: BATCHES * train.batch_size]
    parts = [places[start : start + train.batch_size] for start in range(0, len(places), train.batch_size)]
    collate = Collator(loaded.tokenizer, task)
    return [
        {key: value.to(device) for key, value in collate([rows[int(place)] for place in part]).items()}
        for part in parts
    ]


def _device(train: TrainSection) -> torch.device:
    """The GPU where one process has it to itself. Several must agree on every direction, so they score on the CPU."""
    alone = os.environ.get("WORLD_SIZE", "1") == "1"
    usable = alone and train.device in ("auto", "cuda") and torch.cuda.is_available()
    return torch.device("cuda" if usable else "cpu")
