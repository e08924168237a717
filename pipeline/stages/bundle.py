"""Stage `bundle`: graphs, tokenizer, adapter and sample answers packed for a device, and timed on this machine."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from export.adapter import read_card
from export.measure import measure, repeat_row
from export.pack import MIN_SAMPLES, VariantFiles, write_bundle
from pipeline.stages.context import Context, read_result
from pipeline.stages.evaluate import Evaluation, as_rows, scalars
from pipeline.stages.export import GRAPH, input_spec
from serve.manifest import BaseSpec
from serve.tokenize import Row

THREADS = 1


def bundle(context: Context, folder: Path) -> dict[str, Any]:
    """Writes the bundle: fp32 always, int8 where it was made; the default is int8 if its gate held."""
    document = read_card(context.path("adapter"))
    card = document["card"]
    quantized = read_result(context.path("quantize"), "quantize.json")
    measured = {"fp32": read_result(context.path("export"), "export.json")}
    files = {"fp32": context.path("export") / GRAPH}
    if quantized["enabled"]:
        measured["int8"], files["int8"] = quantized, context.path("quantize") / "int8" / GRAPH
    default = "int8" if quantized["enabled"] and quantized["held"] else "fp32"
    inputs = input_spec(context)
    latency = _latency(context, Evaluation(context, inputs), files)
    variants = [
        VariantFiles(
            name,
            files[name],
            metrics={split: scalars(values) for split, values in found["metrics"].items()},
            parity=found["parity"],
            latency=latency[name],
            kept_fp32=found.get("kept_fp32", ()),
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
        width=max(1, len(card["labels"])),
        variants=variants,
        default_variant=default,
        tokenizer_json=context.path("merged") / "tokenizer.json",
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


def _latency(context: Context, evaluation: Evaluation, files: dict[str, Path]) -> dict[str, dict[str, Any]]:
    single = evaluation.median_row()
    return measure(files, single, repeat_row(single, context.config.quantize.batch), threads=THREADS)


def sample_rows(context: Context) -> list[Row]:
    """Rows a device can check itself by: the first validation texts, then training ones where those are too few."""
    dataset = context.dataset
    return (as_rows(dataset.validation) + as_rows(dataset.train))[:MIN_SAMPLES]
