"""Write what an update made: an adapter's folder, or a run's folder that the other stages go on from."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config.schema import Config, DataSection
from pipeline.config.template import toml_value
from pipeline.data import Dataset, Split, load_dataset, profile
from pipeline.stages.context import STAMPS, Context, fingerprint
from pipeline.stages.finetune import adapter_record
from pipeline.stages.record import write_config
from pipeline.stages.runner import FIRST
from pipeline.stages.unfolded import NAME
from pipeline.train.fit import Fit
from pipeline.train.rows import count_tokens
from pipeline.update.learn import Opened
from pipeline.update.parent import Parent
from pipeline.update.rows import UpdateRows, joined
from serve.files import atomic_dir, write_bytes, write_json


@dataclass(frozen=True)
class Made:
    """A training that went on, and what it reached on the validation rows of the new version."""

    fit: Fit
    unit: float
    validation: dict[str, float]


def write_adapter(
    parent: Parent, now: Opened, rows: UpdateRows, made: Made, document: dict[str, Any], out: Path
) -> dict[str, Any]:
    """adapter.json, adapter.safetensors and update.json in the new folder `out`, all of them or none."""
    with atomic_dir(out) as fresh:
        now.svfit.save(fresh, NAME, _card(parent, now, rows, made))
        write_json(fresh / "update.json", document)
    return {"adapter": str(out), "run": None, "config": None}


def write_run(
    parent: Parent, now: Opened, rows: UpdateRows, made: Made, document: dict[str, Any], out: Path
) -> dict[str, Any]:
    """A run's folder whose first stage is done: its adapter, its rows (old and new together), its configuration.

    `svfit run OUT/NAME.toml` goes on with it at `merge`.
    """
    with atomic_dir(out) as fresh:
        config = _config(parent, rows, out.resolve())
        dataset = _write_data(fresh, config, rows, out.resolve())
        write_bytes(fresh / config.path.name, _toml(config, document).encode())
        context = Context(config, fresh, parent.context.console)
        vars(context).update(dataset=dataset, base=parent.context.base, source=parent.context.source)
        folder = fresh / "adapter"
        folder.mkdir()
        card = _card(parent, now, rows, made) | {"name": config.name}
        now.svfit.save(folder, NAME, card)
        write_json(folder / "update.json", document)
        _write_records(parent, now, made, dataset, folder)
        write_config(context)
        stage = FIRST[0]
        stamp = {
            "stage": stage.name,
            "fingerprint": fingerprint(stage, context),
            "seconds": document["seconds"],
            "summary": {"updated_from": document["parent"], "adapter": str(out / "adapter")},
        }
        (fresh / STAMPS).mkdir()
        write_json(fresh / STAMPS / f"{stage.name}.json", stamp)
    return {"adapter": str(out / "adapter"), "run": str(out), "config": str(out / config.path.name)}


def _card(parent: Parent, now: Opened, rows: UpdateRows, made: Made) -> dict[str, Any]:
    old = parent.adapter.card
    head = sum(value.numel() for _, value in now.svfit.trainable()["head"])
    return dict(old) | {
        "labels": list(rows.labels),
        "unit": made.unit,
        "trained": dict(old["trained"]) | {"head": head},
        "metrics": {"validation": made.validation},
        "updated_from": parent.chain,
    }


def _config(parent: Parent, rows: UpdateRows, out: Path) -> Config:
    config = parent.context.config
    test = rows.dataset is not None and rows.dataset.test is not None
    data = DataSection(
        train=str(out / "data" / "train.jsonl"),
        validation=str(out / "data" / "validation.jsonl"),
        test=str(out / "data" / "test.jsonl") if test else None,
        text=config.data.text,
        label=config.data.label,
        dataset=None,
        task="regression" if parent.task == "text-regression" else "classification",
    )
    return config.model_copy(update={"name": out.name, "path": out / f"{out.name}.toml", "data": data})


def _write_data(fresh: Path, config: Config, rows: UpdateRows, out: Path) -> Dataset:
    """Write the run's rows and the new ones, and read them back as the stages will."""
    run = rows.dataset
    assert run is not None  # noqa: S101 (a run has rows)
    splits = [
        joined("train", run.train, rows.learned),
        joined("validation", run.validation, rows.held_out),
        *([] if run.test is None else [run.test]),
    ]
    data = config.data
    columns = [data.text] if isinstance(data.text, str) else list(data.text)
    paths = {}
    for split in splits:
        paths[split.name] = fresh / "data" / f"{split.name}.jsonl"
        write_bytes(paths[split.name], _lines(split, columns, data.label, rows.labels))
    found = load_dataset(
        train=paths["train"],
        validation=paths["validation"],
        test=paths.get("test"),
        text=data.text,
        label=data.label,
        task=run.task,
    )

    def placed(split: Split) -> Split:
        return dataclasses.replace(split, source=str(out / "data" / f"{split.name}.jsonl"))

    test = None if found.test is None else placed(found.test)
    return Dataset(found.task, found.labels, placed(found.train), placed(found.validation), test)


def _lines(split: Split, columns: list[str], label: str, labels: tuple[str, ...]) -> bytes:
    rows = []
    for texts, value in zip(split.texts, split.labels, strict=True):
        row = dict(zip(columns, texts, strict=True)) | {label: labels[int(value)] if labels else value}
        rows.append(json.dumps(row, ensure_ascii=False) + "\n")
    return "".join(rows).encode()


def _write_records(parent: Parent, now: Opened, made: Made, dataset: Dataset, folder: Path) -> None:
    """training.json and data.json, as `finetune` leaves them for the report."""
    svfit, card = now.svfit, parent.adapter.card
    head = sum(value.numel() for _, value in svfit.trainable()["head"])
    training = {
        "training": made.fit.record | {"basis": {"seconds": svfit.found.seconds, "cached": True}},
        "trainable": dict(card["trained"]) | {"head": head},
        "adapter": adapter_record(parent.context.config.adapter, svfit),
    }
    write_json(folder / "training.json", training)
    tokenizer = now.loaded.tokenizer
    seen = profile(dataset, lambda texts: count_tokens(tokenizer, texts), card["max_length"])
    write_json(folder / "data.json", seen)


def _toml(config: Config, document: dict[str, Any]) -> str:
    lines = [
        f"# {config.name}: version {document['version']}, made by `svfit update` from {document['parent']['folder']}.",
        f"# Go on with: svfit run {config.path.name}. A changed [model], [data], [adapter] or [train] trains anew.",
    ]
    for section, values in config.resolved().items():
        lines += ["", f"[{section}]"]
        for key, value in values.items():
            if section == "data" and key in ("train", "validation", "test") and value is not None:
                value = f"data/{Path(value).name}"
            if isinstance(value, dict):
                value_text = ", ".join(f"{toml_value(name)} = {toml_value(item)}" for name, item in value.items())
                lines.append(f"{key} = {{ {value_text} }}")
            elif value is not None:
                lines.append(f"{key} = {toml_value(value)}")
    return "\n".join(lines) + "\n"
