"""report.json and report.html: what the stages measured, for programs and for people."""

from __future__ import annotations

import datetime
from typing import Any

from export.adapter import read_card
from pipeline.report import render
from pipeline.stages.context import Context, read_result, read_stamp
from pipeline.stages.merge import LIMIT
from pipeline.stages.record import versions
from pipeline.stages.report_swap import swap_gates, swap_section
from serve.bundle import Bundle
from serve.files import write_bytes, write_json
from serve.machine import describe
from serve.predictor import Predictor

STAGES = ("adapter", "merged", "export", "swap", "quantize", "bundle")
SHOWN = 6


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
    quantized = read_result(context.path("quantize"), "quantize.json")
    bundle = Bundle.open(context.path("bundle"))
    variants = bundle.manifest.to_dict()["variants"]
    swapped = _swapped(context)
    fp32 = exported["metrics"] if swapped is None else swapped["tasks"][0]["metrics"]
    measured = {"fp32": fp32, "int8": quantized.get("metrics")}[bundle.manifest.default_variant]
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
        "metrics": measured,
        "gates": [*_gates(context, exported, quantized), *swap_gates(context, swapped)],
        "variants": variants,
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
    if quantized["enabled"]:
        gates.append(
            {
                "name": "int8 accuracy",
                "value": quantized["drop"],
                "limit": quantized["max_drop"],
                "passed": quantized["held"],
                "fatal": False,
                "detail": f"points of {quantized['metric']} that int8 loses on the validation rows",
            }
        )
    return gates


def _architecture(context: Context) -> dict[str, Any]:
    config = context.source.config
    return {"architecture": (config.get("architectures") or [config.get("model_type", "unknown")])[0]}


def _samples(context: Context, bundle: Bundle) -> list[dict[str, Any]]:
    from pipeline.stages.evaluate import as_rows

    split = context.dataset.test or context.dataset.validation
    step = max(1, len(split.labels) // SHOWN)
    places = list(range(0, len(split.labels), step))[:SHOWN]
    rows = as_rows(split)
    answers = Predictor(bundle).predict([rows[place] for place in places])
    labels = context.dataset.labels
    return [
        {
            "text": " ⏐ ".join(split.texts[place]),
            "label": answer.label if answer.label is not None else answer.value,
            "score": answer.score,
            "truth": labels[int(split.labels[place])] if labels else split.labels[place],
        }
        for place, answer in zip(places, answers, strict=True)
    ]


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
