"""Stage `bundle`: graphs, tokenizer, adapter and sample answers packed for a device, and timed on this machine."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from export.adapter import read_card
from export.measure import measure, repeat_row
from export.pack import MIN_SAMPLES, VariantFiles, write_bundle
from export.variants.kinds import KINDS
from pipeline.stages.context import Context, read_result
from pipeline.stages.evaluate import Evaluation, scalars, width_of
from pipeline.stages.export import GRAPH, input_spec
from pipeline.stages.quantize import read_quantized
from serve.manifest import BaseSpec, Inputs, InputSpec
from serve.pieces import Row

THREADS = 1


def bundle(context: Context, folder: Path) -> dict[str, Any]:
    """Writes the bundle: fp32 always, and the variants that stage `quantize` chose, its default among them."""
    document = read_card(context.path("adapter"))
    card = document["card"]
    quantized = read_quantized(context)
    measured = {"fp32": read_result(context.path("export"), "export.json")}
    default = "fp32"
    if quantized["enabled"]:
        records = {row["name"]: row for row in quantized["variants"]}
        measured, default = {name: records[name] for name in quantized["bundle"]}, quantized["default"]
    files = {name: graph_of(context, name) for name in measured}
    inputs = input_spec(context)
    latency = {
        name: found["latency"] | found.get("memory", {}) for name, found in measured.items() if "latency" in found
    }
    if len(latency) < len(measured):  # as after the default run, which leaves it to this stage
        latency = _latency(context, Evaluation(context, inputs), files)
    variants = [
        VariantFiles(
            name,
            files[name],
            metrics={split: scalars(values) for split, values in found["metrics"].items()},
            parity=found["parity"],
            latency=latency[name],
            kept_fp32=found.get("kept_fp32", ()),
            precision=found.get("precision", ""),
            beside=sorted(files[name].parent.glob("*.config")) if name != "fp32" else (),
        )
        for name, found in measured.items()
    ]
    packed = folder / "packed"
    write_bundle(
        packed,
        name=context.config.name,
        task=card["task"],
        labels=card["labels"],
        inputs=inputs,
        width=width_of(card),
        output=card.get("output", "logits"),
        variants=variants,
        default_variant=default,
        tokenizer_json=tokenizer_of(context, inputs),
        adapters={"default": context.path("adapter")},
        samples=sample_rows(context),
        base=BaseSpec(**card["base"]),
        basis_id=document["basis_id"],
        adapter={"trained": card["trained"]},
        threads=THREADS,
    )
    for path in packed.iterdir():
        path.rename(folder / path.name)
    shutil.rmtree(packed)
    return {"bundle": str(context.path("bundle")), "default": default, "variants": list(files)}


def tokenizer_of(context: Context, inputs: Inputs) -> Path | None:
    """The merged model's tokenizer, where rows are texts."""
    return context.path("merged") / "tokenizer.json" if isinstance(inputs, InputSpec) else None


def graph_of(context: Context, name: str) -> Path:
    """A variant's graph in the run's folder."""
    return context.path("export") / GRAPH if name == "fp32" else context.path("quantize") / name / KINDS[name].file


def _latency(context: Context, evaluation: Evaluation, files: dict[str, Path]) -> dict[str, dict[str, Any]]:
    single = evaluation.median_row()
    return measure(files, single, repeat_row(single, context.config.quantize.batch), threads=THREADS)


def sample_rows(context: Context) -> list[Row]:
    """Rows a device can check itself by: the first validation texts, then training ones where those are too few."""
    dataset = context.dataset
    parts = [context.task.served(split)[:MIN_SAMPLES] for split in (dataset.validation, dataset.train)]
    return [row for part in parts for row in part][:MIN_SAMPLES]
