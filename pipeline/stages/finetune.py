"""Stage `finetune`: rows and a base model in, an adapter out."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.progress import Progress

from export.store import FactorStore
from pipeline.config import AdapterSection
from pipeline.data import Split, render_profile
from pipeline.model.load import Loaded
from pipeline.stages.context import Context
from pipeline.stages.onto import Onto, read_onto
from pipeline.stages.ranks import Ranks, choose, core_of, drop, told, told_of_drop
from pipeline.stages.unfolded import NAME
from pipeline.svf import SVFit, wrap
from pipeline.svf.decompose import Progress as Step
from pipeline.svf.inspect import layer_spectra
from pipeline.svf.rank import lora_values
from pipeline.tasks.words import headline, misfit
from pipeline.train.fit import Fit, fit
from pipeline.train.learning import TrainRows
from pipeline.train.plan import RATES, Plan
from pipeline.train.scale import Scale, output_layer
from serve.errors import UsageError
from serve.files import sha256_json, write_json


def finetune(context: Context, folder: Path) -> dict[str, Any]:
    """Writes adapter.safetensors, adapter.json, training.json and data.json."""
    config, dataset, task = context.config, context.dataset, context.task
    metric = headline(dataset.task, config.train.metric, dataset.metrics)
    if problem := misfit(dataset.task, metric, dataset.metrics):
        raise UsageError(problem)
    if config.train.threads:
        torch.set_num_threads(config.train.threads)
    torch.manual_seed(config.train.seed)
    pooling, dropout = config.model.pooling, config.model.head_dropout
    loaded = task.load(context.source, dataset.labels, pooling=pooling, dropout=dropout)
    loaded = replace(loaded, dimensions=tuple(config.model.dimensions))
    length = max_length(context, loaded)
    if length < config.model.max_length:
        context.say(
            f"! model.max_length: {config.model.max_length} is more than {context.source.name} takes; {length} it is"
        )
    seen = task.profile(dataset, loaded, length)
    render_profile(seen, context.console)
    onto = read_onto(context)
    whole = list(loaded.whole) if config.adapter.head_modules == "auto" else list(config.adapter.head_modules)

    last = output_layer(loaded.model, whole) if dataset.task == "text-regression" else None
    scale = Scale.of(dataset.train.labels) if last is not None else None

    def rows(split: Split, training: bool = False) -> TrainRows:
        scaled = split if scale is None else replace(split, labels=scale.apply(split.labels))
        return task.rows(loaded, scaled, length, training=training)

    train, validation = rows(dataset.train, training=True), rows(dataset.validation)
    svfit, ranks = _wrapped(context, loaded, whole, onto, train)
    checkpoints = _checkpoints(context)
    result = fit(
        svfit,
        task.learning(loaded),
        train,
        validation,
        plan=plan(context, metric),
        folder=checkpoints,
        console=context.console,
    )
    trained = _trained(svfit, onto, ranks)
    dropped = None
    if config.adapter.keep < 1:
        dropped = drop(svfit, NAME, config.adapter.keep, result, validation, _best(result))
        context.say(told_of_drop(dropped, metric))
    if not result.trainer.is_world_process_zero():
        return {}  # under `accelerate launch`, one process writes
    if scale is not None and last is not None:
        scale.put_into(last)
        result.record["validation"] = [scale.real_units(row) for row in result.record["validation"]]
        dropped = dropped and dropped | {when: scale.real_units(dropped[when]) for when in ("before", "after")}
    reached = _best(result) if dropped is None else dropped["after"]
    card = {
        "name": config.name,
        "task": dataset.task,
        "labels": list(dataset.labels),
        "base": context.base,
        "pooling": loaded.pooling,
        "dropout": config.model.head_dropout,
        "max_length": length,
        **({"width": loaded.width} if loaded.width else {}),
        **task.card(dataset, config),
        "whole_modules": list(svfit.whole),
        "train_bias": config.adapter.train_bias,
        "train_layernorm": config.adapter.train_layernorm,
        "unit": 1.0 if scale is None else max(1.0, abs(scale.mean) + scale.deviation),
        "trained": trained,
        "metrics": {"validation": reached},
    }
    svfit.save(folder, NAME, card)
    training = {
        "training": result.record | {"basis": _cost(svfit)},
        "trainable": trained,
        "adapter": adapter_record(config.adapter, svfit, ranks, dropped),
    }
    write_json(folder / "training.json", training)
    write_json(folder / "data.json", seen)
    shutil.rmtree(checkpoints, ignore_errors=True)
    return {
        "trained": trained,
        "validation": reached,
        "basis_id": svfit.basis.id,
        "adapter": str(context.path("adapter")),
    }


def max_length(context: Context, loaded: Loaded) -> int:
    """The configured length, capped at what the model has positions for."""
    limits = [context.config.model.max_length]
    positions = getattr(loaded.model.config, "max_position_embeddings", None)
    if isinstance(positions, int):
        pad = loaded.model.config.pad_token_id or 0
        offset = pad + 1 if loaded.model.config.model_type in ("roberta", "xlm-roberta", "mpnet", "camembert") else 0
        limits.append(positions - offset)
    return min(limits)


def plan(context: Context, metric: str) -> Plan:
    train = context.config.train
    same = {name: getattr(train, name) for name in Plan.__dataclass_fields__ if name not in ("metric", "learning_rate")}
    return Plan(**same, metric=metric, learning_rate=train.learning_rate or RATES[context.config.adapter.core])


def _wrapped(
    context: Context, loaded: Loaded, whole: list[str], onto: Onto | None, train: TrainRows
) -> tuple[SVFit, Ranks | None]:
    """With an adapter on it; and how its directions were chosen, where they were."""
    adapter, ranks, found = context.config.adapter, None, None
    with _progress(context) as bar:
        if adapter.rank == "auto":
            learning = context.task.learning(loaded)
            decomposed, scored = bar("singular values"), bar("scores of directions")
            ranks, found = choose(loaded, whole, adapter, context.config.train, learning, train, decomposed, scored)
        svfit = wrap(
            loaded.model,
            rank=adapter.rank,
            core=core_of(adapter),
            found=found,
            targets=adapter.targets,
            whole=whole,
            train_bias=adapter.train_bias,
            train_layernorm=adapter.train_layernorm,
            store=FactorStore(),
            basis=None if onto is None else onto.basis,
            factors=None if onto is None else onto.factors,
            progress=bar("singular values"),
        )
    if ranks is not None:
        context.say(f"ranks: {told(ranks.record)}")
    svfit.add(NAME)
    svfit.activate(NAME)
    cost = _cost(svfit)
    if onto is not None:
        svfit.restrict(NAME, onto.kept)
        carried = sum(len(places) for places in onto.kept.values())
        context.say(f"basis {svfit.basis.id[:12]}: from {adapter.onto}, which carries {carried:,} directions")
    elif cost["cached"]:
        context.say(f"basis {svfit.basis.id[:12]}: found in the cache, no SVD computed")
    else:
        context.say(f"basis {svfit.basis.id[:12]}: weights decomposed in {cost['seconds']:.1f} s")
    return svfit, ranks


@contextmanager
def _progress(context: Context) -> Iterator[Callable[[str], Step]]:
    """A bar for each thing that is worked at, shown once something is done of it."""
    with Progress(console=context.console, transient=True, disable=not context.console.is_terminal) as bars:

        def bar(what: str) -> Step:
            task = bars.add_task(what, visible=False)
            return lambda done, total, _: bars.update(task, completed=done, total=total, visible=True)

        yield bar


def _cost(svfit: SVFit) -> dict[str, Any]:
    return {"seconds": svfit.found.seconds, "cached": not svfit.found.computed}


def _checkpoints(context: Context) -> Path:
    resolved = context.config.resolved()
    parts = {section: resolved[section] for section in ("model", "adapter", "train")}
    key = sha256_json({"inputs": context.inputs_sha256, "config": parts})
    return context.folder / f".checkpoints-{key[:16]}"


def _trained(svfit: SVFit, onto: Onto | None, ranks: Ranks | None) -> dict[str, int]:
    """Values trained, and what LoRA of rank 8 and full fine-tuning would on all layers that were there to choose."""
    adapter = svfit.size if onto is None else sum(len(places) for places in onto.kept.values())
    shapes = [layer.shape for layer in svfit.basis.layers.values()] if ranks is None else ranks.shapes
    return {
        "adapter": adapter,
        "head": sum(value.numel() for _, value in svfit.trainable()["head"]),
        "lora_r8": lora_values(shapes),
        "full": sum(out * inp for out, inp in shapes),
    }


def _best(result: Fit) -> dict[str, float]:
    best, rows = result.record["best"], result.record["validation"]
    if best is None:
        return {}
    row = next(entry for entry in rows if entry["epoch"] == best["epoch"])
    return {key: value for key, value in row.items() if key not in ("step", "epoch", "seconds")}


def adapter_record(
    section: AdapterSection, svfit: SVFit, ranks: Ranks | None = None, dropped: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The report's `adapter` section: what was trained, and how far each layer moved."""
    adapter = svfit.export(NAME)
    return {
        "rank": section.rank,
        "core": str(adapter.core),
        "basis_id": adapter.basis.id,
        "values": adapter.size,
        **({} if ranks is None else {"chosen": ranks.record}),
        **({} if dropped is None else {"dropped": dropped}),
        "layers": layer_spectra(adapter, svfit.found.spectra, svfit.found.energy),
    }
