"""Stage `export`: the merged model as an ONNX graph that answers as PyTorch does."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from export.adapter import read_card
from export.graph import export_onnx
from export.parity import check_parity, gate_parity, summary
from pipeline.stages.context import Context, read_result
from pipeline.stages.evaluate import Evaluation
from pipeline.stages.record import versions
from pipeline.train.learning import sample_of
from serve.files import write_json
from serve.manifest import Inputs, inputs_from

GRAPH = "model.onnx"


def export(context: Context, folder: Path) -> dict[str, Any]:
    """Writes model.onnx and export.json. Raises `GateError` where parity fails."""
    document = read_card(context.path("adapter"))
    card = document["card"]
    task = context.task
    loaded = task.merged(context.path("merged"))
    learning = task.learning(loaded)
    rows = task.rows(loaded, context.dataset.validation.first(2), card["max_length"])
    graph = folder / GRAPH
    context.say("tracing the graph")
    info = export_onnx(
        loaded.model,
        sample_of(learning, rows),
        graph,
        {
            "svfit.task": card["task"],
            "svfit.labels": json.dumps(card["labels"], ensure_ascii=False),
            "svfit.base": card["base"]["name"],
            "svfit.basis_id": document["basis_id"],
            "svfit.versions": json.dumps(versions(), sort_keys=True),
        },
        learning.output,
    )
    inputs = task.inputs(info.inputs, loaded, card)
    batches = task.batches(inputs, loaded, card["max_length"], context.config.train.seed)
    # A regression's outputs are as large as its numbers, and float32 resolves 1e-4 only up to about 1,000.
    compared = check_parity(loaded.model, graph, batches, context.config.export.parity * card["unit"])
    gate_parity(compared)
    context.say("measuring fp32")
    found = Evaluation(context, inputs)
    result = {
        "graph": {"inputs": list(info.inputs), "output": info.output, "opset": info.opset, "bytes": info.bytes},
        "inputs": asdict(inputs),
        "parity": summary(compared),
        "rows": [asdict(row) for row in compared],
        "metrics": found.every(graph),
        "metric": found.metric,
    }
    write_json(folder / "export.json", result)
    return {"parity": result["parity"], "bytes": info.bytes, "graph": str(context.path("export") / GRAPH)}


def input_spec(context: Context) -> Inputs:
    """What the exported graph takes, as `export` recorded it."""
    return recorded_inputs(read_result(context.path("export"), "export.json"))


def recorded_inputs(result: dict[str, Any]) -> Inputs:
    """The `inputs` that a stage recorded in its result."""
    return inputs_from(result["inputs"], "inputs")
