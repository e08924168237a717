"""Stage `bundle` of a swappable export: one backbone, a head, every adapter, sealed together."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from export.adapter import read_card
from export.measure import measure, repeat_row
from export.pack import VariantFiles, write_bundle
from export.swap.build import BACKBONE_FILE, FOLD_FILE, WEIGHTS_FILE
from export.swap.draft import swap_spec
from export.swap.inject import SIGMA
from pipeline.stages.bundle import THREADS, sample_rows, tokenizer_of
from pipeline.stages.context import Context
from pipeline.stages.evaluate import scalars, width_of
from pipeline.stages.export import GRAPH
from pipeline.stages.quantize import read_quantized
from pipeline.stages.quantize_swap import Swapped
from pipeline.stages.swap import ADAPTERS
from serve.manifest import BaseSpec


def bundle_swap(context: Context, folder: Path) -> dict[str, Any]:
    """Writes the bundle: fp32 always, int8 where it was made and the default if its gate held for every adapter."""
    swapped = Swapped.of(context)
    first = swapped.tasks[0]
    card = read_card(swapped.folder / ADAPTERS / first.name)["card"]
    quantized = read_quantized(context)
    measured: dict[str, Any] = {
        "fp32": {"metrics": swapped.result["tasks"][0]["metrics"], "parity": swapped.result["parity"]}
    }
    files = {"fp32": swapped.folder / BACKBONE_FILE}
    if quantized["enabled"]:
        measured["int8"], files["int8"] = quantized["variants"][0], context.path("quantize") / "int8" / GRAPH
    default = quantized["default"] if quantized["enabled"] else "fp32"
    row, sigma = first.evaluation.median_row(), np.zeros((1, swapped.files.width), dtype=np.float32)
    single: dict[str, Any] = {**row, SIGMA: sigma}
    batch: dict[str, Any] = {**repeat_row(row, context.config.quantize.batch), SIGMA: sigma}
    latency = measure(files, single, batch, threads=THREADS)
    heads = [head.file for head in swapped.files.heads]
    packed = folder / "packed"
    write_bundle(
        packed,
        name=context.config.name,
        task=card["task"],
        labels=card["labels"],
        inputs=swapped.inputs,
        width=width_of(card),
        output=first.evaluation.output.name,
        variants=[
            VariantFiles(
                name,
                files[name],
                metrics={split: scalars(values) for split, values in found["metrics"].items()},
                parity=found["parity"],
                latency=latency[name],
                kept_fp32=found.get("kept_fp32", ()),
            )
            for name, found in measured.items()
        ],
        default_variant=default,
        tokenizer_json=tokenizer_of(context, swapped.inputs),
        adapters={task.name: swapped.folder / ADAPTERS / task.name for task in swapped.tasks},
        samples=sample_rows(context),
        base=BaseSpec(**card["base"]),
        basis_id=swapped.basis_id,
        adapter={"trained": card["trained"]},
        swap=swap_spec(swapped.files, [task.name for task in swapped.tasks], swapped.result["price"]),
        shared=[swapped.folder / name for name in (WEIGHTS_FILE, FOLD_FILE, *heads)],
        threads=THREADS,
    )
    for path in packed.iterdir():
        path.rename(folder / path.name)
    shutil.rmtree(packed)
    return {
        "bundle": str(context.path("bundle")),
        "default": default,
        "variants": list(files),
        "adapters": [task.name for task in swapped.tasks],
    }
