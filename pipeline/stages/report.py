"""report.json and report.html: what the stages measured, for programs and for people."""

from __future__ import annotations

import datetime
from typing import Any

from export.adapter import read_card
from export.variants.rank import RULE, front, ranked
from pipeline.report import render
from pipeline.stages.context import Context, read_result, read_stamp
from pipeline.stages.merge import LIMIT
from pipeline.stages.quantize import read_quantized
from pipeline.stages.record import versions
from pipeline.stages.report_swap import swap_gates, swap_section
from serve.bundle import Bundle
from serve.files import write_bytes, write_json
from serve.machine import describe
from serve.predictor import Predictor

STAGES = ("adapter", "merged", "export", "swap", "quantize", "bundle")
SHOWN = {"image-classification": 24}
"""Examples on the page, where not 6."""


def write_report(context: Context) -> dict[str, Any]:
    """Gather, write both files into the run's folder, and give the document."""
    document = gather(context)
    write_json(context.folder / "report.json", document)
    write_bytes(context.folder / "report.html", render(document).encode())
    return document


def gather(context: Context) -> dict[str, Any]:
    """The report's document. Raises `InputError` where a stage's results are missing."""
    card = read_card(context.path("adapter"))["card"]
    training = read_result(context.path("adapter"), "training.json")
    exported = read_result(context.path("export"), "export.json")
    quantized = read_quantized(context)
    bundle = Bundle.open(context.path("bundle"))
    variants = bundle.manifest.to_dict()["variants"]
    swapped = _swapped(context)
    fp32 = exported["metrics"] if swapped is None else swapped["tasks"][0]["metrics"]
    made = {row["name"]: row for row in quantized.get("variants", ())}
    default = bundle.manifest.default_variant
    document = {
        "format": "svfit-report",
        "format_version": 1,
        "name": context.config.name,
        "created": {"at": _now(), "svfit": versions()["svfit"], "versions": versions()},
        "task": card["task"],
        "labels": card["labels"],
        "base": card["base"] | _architecture(context),
        "data": read_result(context.path("adapter"), "data.json"),
        "adapter": training["adapter"],
        "trainable": training["trainable"],
        "training": training["training"],
        "metrics": fp32 if default == "fp32" else made[default]["metrics"],
        "gates": [*_gates(context, exported, quantized), *swap_gates(context, swapped)],
        "variants": variants,
        "candidates": _candidates(quantized),
        "machine": describe(),
        "seconds": {name: stamp["seconds"] for name in STAGES if (stamp := read_stamp(context, name)) is not None},
        "samples": _samples(context, bundle),
        "config": context.config.resolved(),
        "paths": {"report": str(context.folder / "report.html"), "bundle": str(context.path("bundle"))},
    }
    return document if swapped is None else document | {"swap": swap_section(swapped, quantized)}


def _swapped(context: Context) -> dict[str, Any] | None:
    swappable = context.config.export.mode == "swappable"
    return read_result(context.path("swap"), "swap.json") if swappable else None


def _gates(context: Context, exported: dict[str, Any], quantized: dict[str, Any]) -> list[dict[str, Any]]:
    merged = read_result(context.path("merged"), "merge.json")
    parity = exported["parity"]
    gates = [
        {
            "name": "merge",
            "value": merged["max_relative"],
            "limit": merged["limit"],
            "passed": merged["max_relative"] <= LIMIT,
            "fatal": True,
            "detail": "merged against unmerged PyTorch outputs, relative",
        },
        {
            "name": "parity",
            "value": parity["max_abs"],
            "limit": parity["limit"],
            "passed": parity["max_abs"] <= parity["limit"],
            "fatal": True,
            "detail": f"ONNX against PyTorch over {parity['rows']} batches of {parity['shapes']} shapes, absolute",
        },
    ]
    others = [row for row in quantized.get("variants", ()) if row["name"] != "fp32" and "drop" in row]
    held = [row for row in others if row["held"]]
    for row in held or others:  # one that failed beside others that held was only tried, and isn't in the bundle
        gates.append(
            {
                "name": f"{row['name']} accuracy",
                "value": row["drop"],
                "limit": quantized["max_drop"],
                "passed": row["held"],
                "fatal": False,
                "detail": f"points of {quantized['metric']} that {row['name']} loses on the validation rows",
            }
        )
    return gates


def _candidates(quantized: dict[str, Any]) -> dict[str, Any] | None:
    """Every variant that was tried, by rank, where that was more than one."""
    rows = quantized.get("variants", ())
    if len(rows) < 3 or "default" not in quantized:
        return None
    metric = quantized["metric"]
    shown = [
        {key: value for key, value in row.items() if key != "metrics"}
        | {"score": row["metrics"]["validation"][metric] if "metrics" in row else None}
        for row in ranked(rows)
    ]
    return {
        "metric": metric,
        "default": quantized["default"],
        "rule": RULE,
        "front": front(rows, metric),
        "variants": shown,
    }


def _architecture(context: Context) -> dict[str, Any]:
    config = context.source.config
    return {"architecture": (config.get("architectures") or [config.get("model_type", "unknown")])[0]}


def _samples(context: Context, bundle: Bundle) -> list[dict[str, Any]]:
    split = context.dataset.test or context.dataset.validation
    rows = context.task.served(split)
    shown = SHOWN.get(context.task.name, 6)
    places = list(range(0, len(rows), max(1, len(rows) // shown)))[:shown]
    answers = Predictor(bundle).predict([rows[place] for place in places])
    labels = context.dataset.labels
    return [context.task.example(split, labels, place, answer) for place, answer in zip(places, answers, strict=True)]


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
