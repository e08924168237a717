"""Stage `finetune`: rows and a base model in, an adapter out."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from rich.progress import Progress

from export.store import FactorStore
from pipeline.data import Split, profile, render_profile
from pipeline.model.load import Loaded, load
from pipeline.stages.context import Context
from pipeline.stages.onto import Onto, read_onto
from pipeline.svf import SVFit, wrap
from pipeline.svf.inspect import layer_spectra
from pipeline.train.fit import Fit, fit
from pipeline.train.metrics import headline
from pipeline.train.plan import Plan
from pipeline.train.rows import Rows, count_tokens
from pipeline.train.scale import Scale, output_layer
from serve.errors import UsageError
from serve.files import sha256_json, write_json

NAME = "default"


def finetune(context: Context, folder: Path) -> dict[str, Any]:
    """Writes adapter.safetensors, adapter.json, training.json and data.json."""
    config, dataset = context.config, context.dataset
    metric = headline(dataset.task, config.train.metric)
    _check_metric(dataset.task, metric)
    if config.train.threads:
        torch.set_num_threads(config.train.threads)
    torch.manual_seed(config.train.seed)
    loaded = load(context.source, dataset.labels, pooling=config.model.pooling, dropout=config.model.head_dropout)
    length = max_length(context, loaded)
    if length < config.model.max_length:
        context.say(
            f"! model.max_length: {config.model.max_length} is more than {context.source.name} takes; {length} it is"
        )
    seen = profile(dataset, lambda texts: count_tokens(loaded.tokenizer, texts), length)
    render_profile(seen, context.console)
    onto = read_onto(context)
    svfit = _wrapped(context, loaded, onto)

    last = output_layer(svfit.model, svfit.whole) if dataset.task == "text-regression" else None
    scale = Scale.of(dataset.train.labels) if last is not None else None

    def rows(split: Split) -> Rows:
        labels = split.labels if scale is None else scale.apply(split.labels)
        return Rows(loaded.tokenizer, split.texts, labels, length)

    checkpoints = _checkpoints(context)
    result = fit(
        svfit,
        loaded.tokenizer,
        rows(dataset.train),
        rows(dataset.validation),
        task=dataset.task,
        plan=plan(context, metric),
        folder=checkpoints,
        console=context.console,
    )
    if not result.trainer.is_world_process_zero():
        return {}  # under `accelerate launch`, one process writes
    if scale is not None and last is not None:
        scale.put_into(last)
        result.record["validation"] = [scale.real_units(row) for row in result.record["validation"]]
    trained = _trained(svfit, onto)
    card = {
        "name": config.name,
        "task": dataset.task,
        "labels": list(dataset.labels),
        "base": context.base,
        "pooling": loaded.pooling,
        "dropout": config.model.head_dropout,
        "max_length": length,
        "texts": len(dataset.train.texts[0]),
        "whole_modules": list(svfit.whole),
        "train_bias": config.adapter.train_bias,
        "train_layernorm": config.adapter.train_layernorm,
        "unit": 1.0 if scale is None else max(1.0, abs(scale.mean) + scale.deviation),
        "trained": trained,
        "metrics": {"validation": _best(result)},
    }
    svfit.save(folder, NAME, card)
    _write_records(context, folder, svfit, result, seen, trained)
    shutil.rmtree(checkpoints, ignore_errors=True)
    return {
        "trained": trained,
        "validation": _best(result),
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
    return Plan(
        **{name: getattr(train, name) for name in Plan.__dataclass_fields__ if name != "metric"},
        metric=metric,
    )


def _check_metric(task: str, metric: str) -> None:
    fitting = (
        ("pearson", "spearman", "loss") if task == "text-regression" else ("accuracy", "macro_f1", "matthews", "loss")
    )
    if metric not in fitting:
        raise UsageError(f"train.metric: {metric} says nothing about {task}; available: {', '.join(fitting)}")


def _wrapped(context: Context, loaded: Loaded, onto: Onto | None) -> SVFit:
    adapter = context.config.adapter
    whole = list(loaded.whole) if adapter.head_modules == "auto" else list(adapter.head_modules)
    with Progress(console=context.console, transient=True, disable=not context.console.is_terminal) as progress:
        task = progress.add_task("singular values")
        svfit = wrap(
            loaded.model,
            rank=adapter.rank,
            targets=adapter.targets,
            whole=whole,
            train_bias=adapter.train_bias,
            train_layernorm=adapter.train_layernorm,
            store=FactorStore(),
            basis=None if onto is None else onto.basis,
            factors=None if onto is None else onto.factors,
            progress=lambda done, total, _: progress.update(task, completed=done, total=total),
        )
    svfit.add(NAME)
    svfit.activate(NAME)
    found = svfit.found
    if onto is not None:
        svfit.restrict(NAME, onto.kept)
        carried = sum(len(places) for places in onto.kept.values())
        context.say(f"basis {svfit.basis.id[:12]}: from {adapter.onto}, which carries {carried:,} directions")
    elif found.computed:
        context.say(f"basis {svfit.basis.id[:12]}: {found.computed} weights decomposed in {found.seconds:.1f} s")
    else:
        context.say(f"basis {svfit.basis.id[:12]}: found in the cache, no SVD computed")
    return svfit


def _checkpoints(context: Context) -> Path:
    resolved = context.config.resolved()
    parts = {section: resolved[section] for section in ("model", "adapter", "train")}
    key = sha256_json({"inputs": context.inputs_sha256, "config": parts})
    return context.folder / f".checkpoints-{key[:16]}"


def _trained(svfit: SVFit, onto: Onto | None) -> dict[str, int]:
    groups = svfit.trainable()
    counts = {kind: sum(value.numel() for _, value in group) for kind, group in groups.items()}
    if onto is not None:
        counts["adapter"] = sum(len(places) for places in onto.kept.values())
    shapes = [layer.shape for layer in svfit.basis.layers.values()]
    counts["lora_r8"] = sum(8 * (out + inp) for out, inp in shapes)
    counts["full"] = sum(out * inp for out, inp in shapes)
    return counts


def _best(result: Fit) -> dict[str, float]:
    best, rows = result.record["best"], result.record["validation"]
    if best is None:
        return {}
    row = next(entry for entry in rows if entry["epoch"] == best["epoch"])
    return {key: value for key, value in row.items() if key not in ("step", "epoch", "seconds")}


def _write_records(
    context: Context, folder: Path, svfit: SVFit, result: Fit, seen: dict[str, Any], trained: dict[str, int]
) -> None:
    found = svfit.found
    adapter = svfit.export(NAME)
    training = {
        "training": result.record | {"basis": {"seconds": found.seconds, "cached": not found.computed}},
        "trainable": trained,
        "adapter": {
            "rank": context.config.adapter.rank,
            "basis_id": svfit.basis.id,
            "values": svfit.basis.size,
            "layers": layer_spectra(adapter, found.spectra),
        },
    }
    write_json(folder / "training.json", training)
    write_json(folder / "data.json", seen)
