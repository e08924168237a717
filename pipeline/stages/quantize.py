"""Stage `quantize`: the int8 variant, held to what it may lose on the validation rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.progress import Progress

from export.quantize import quantize_int8
from pipeline.stages.context import Context, read_result
from pipeline.stages.evaluate import Evaluation
from pipeline.stages.export import GRAPH, input_spec
from serve.files import write_json


def quantize(context: Context, folder: Path) -> dict[str, Any]:
    """Writes int8/model.onnx and quantize.json; with `quantize.enabled = false` only the latter, saying so."""
    settings = context.config.quantize
    if not settings.enabled:
        write_json(folder / "quantize.json", {"enabled": False})
        return {"enabled": False}
    exported = read_result(context.path("export"), "export.json")
    evaluation = Evaluation(context, input_spec(context))
    baseline = float(exported["metrics"]["validation"][evaluation.metric])
    graph = folder / "int8" / GRAPH
    graph.parent.mkdir()
    with Progress(console=context.console, transient=True, disable=not context.console.is_terminal) as progress:
        task = progress.add_task("int8", total=None)
        made = quantize_int8(
            context.path("export") / GRAPH,
            graph,
            evaluation.headline,
            baseline,
            evaluation.feeds("validation", settings.batch),
            settings.max_drop,
            lambda what, done, total: progress.update(task, description=what, completed=done, total=total),
        )
    result = {
        "enabled": True,
        "metric": evaluation.metric,
        "max_drop": settings.max_drop,
        "drop": made.drop,
        "held": made.held,
        "kept_fp32": list(made.kept_fp32),
        "tried": made.tried,
        "bytes": made.bytes,
        "metrics": evaluation.every(graph),
        "parity": {"max_abs": evaluation.difference(context.path("export") / GRAPH, graph), "against": "fp32"},
    }
    write_json(folder / "quantize.json", result)
    summary = {key: result[key] for key in ("metric", "drop", "held", "kept_fp32", "bytes")}
    return summary | {"graph": str(context.path("quantize") / "int8" / GRAPH)}
