"""Stage `quantize` of a swappable export: one int8 backbone, held to what each adapter may lose on its own rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.progress import Progress

from export.adapter import read_card
from export.quantize import quantize_int8
from export.swap.build import BACKBONE_FILE, SwapFiles
from export.swap.draft import Draft
from export.swap.inject import SIGMA
from pipeline.stages.context import Context, read_result
from pipeline.stages.export import GRAPH, recorded_inputs
from pipeline.stages.others import other_run
from pipeline.stages.swap import ADAPTERS, Task
from serve.adapters.adapter import LoadedAdapter
from serve.files import write_json
from serve.manifest import BaseSpec, Inputs
from serve.swap import HeadSpec, LayerSpec


@dataclass(frozen=True)
class Swapped:
    """What stage `swap` left: its files, the tasks, and their adapters."""

    folder: Path
    files: SwapFiles
    inputs: Inputs
    result: dict[str, Any]
    tasks: tuple[Task, ...]
    context: Context

    @classmethod
    def of(cls, context: Context) -> Swapped:
        folder = context.path("swap")
        result = read_result(folder, "swap.json")
        found = result["files"]
        files = SwapFiles(
            found["width"],
            tuple(found["outputs"]),
            tuple(LayerSpec.from_dict(layer, "swap.json: layers") for layer in found["layers"]),
            tuple(HeadSpec.from_dict(head, "swap.json: heads") for head in found["heads"]),
            found["bytes"],
        )
        runs = [context, *(other_run(Path(run), context.console) for run in context.config.export.adapters)]
        return cls(folder, files, recorded_inputs(result), result, tuple(Task.of(run) for run in runs), context)

    @property
    def basis_id(self) -> str:
        """That of the adapters as the graphs take them."""
        return str(read_card(self.folder / ADAPTERS / self.tasks[0].name)["basis_id"])

    def draft(self, graph: Path | None = None) -> Draft:
        """These graphs, or another backbone with the same heads, ready to answer."""
        return Draft(
            self.folder,
            self.files,
            self.inputs,
            BaseSpec(**self.context.base),
            self.basis_id,
            self.context.path("merged"),
            graph,
        )

    def adapters(self, draft: Draft) -> dict[str, LoadedAdapter]:
        return {task.name: draft.load(self.folder / ADAPTERS / task.name, task.name) for task in self.tasks}


def quantize_swap(context: Context, folder: Path) -> dict[str, Any]:
    """Writes int8/model.onnx and quantize.json; with `quantize.enabled = false` only the latter, saying so.

    No other variant is made, whatever `quantize.variants` says: those are held to what they lose by rows of one
    adapter, and their tools know neither weights shared in a file nor a sigma of each row.
    """
    settings = context.config.quantize
    if not settings.enabled:
        write_json(folder / "quantize.json", {"enabled": False})
        return {"enabled": False}
    if others := [name for name in settings.variants if name != "int8"]:
        context.say(f"! a swappable bundle has fp32 and int8 only; not made: {', '.join(others)}")
    swapped = Swapped.of(context)
    baselines = {row["name"]: row["metrics"]["validation"][row["metric"]] for row in swapped.result["tasks"]}
    loaded = swapped.adapters(swapped.draft())

    def scores(graph: Path) -> dict[str, float]:
        draft = swapped.draft(graph)
        return {
            task.name: task.evaluation.headline(draft.session(loaded[task.name], task.name)) for task in swapped.tasks
        }

    def worst(graph: Path) -> float:
        """Minus what the adapter that loses most loses."""
        return -max(float(baselines[name]) - score for name, score in scores(graph).items())

    graph = folder / "int8" / GRAPH
    graph.parent.mkdir()
    with Progress(console=context.console, transient=True, disable=not context.console.is_terminal) as progress:
        bar = progress.add_task("int8", total=None)
        made = quantize_int8(
            swapped.folder / BACKBONE_FILE,
            graph,
            worst,
            0.0,
            _feeds(swapped.tasks, loaded, settings.batch),
            settings.max_drop,
            lambda what, done, total: progress.update(bar, description=what, completed=done, total=total),
        )
    exact, draft = swapped.draft(), swapped.draft(graph)
    rows = []
    for task in swapped.tasks:
        fp32, int8 = (one.session(loaded[task.name], task.name) for one in (exact, draft))
        metrics = task.evaluation.every(int8)
        rows.append(
            {
                "name": task.name,
                "metric": task.evaluation.metric,
                "metrics": metrics,
                "drop": 100 * (baselines[task.name] - metrics["validation"][task.evaluation.metric]),
                "max_abs": task.evaluation.difference(fp32, int8),
            }
        )
    first = rows[0]
    record = {
        "name": "int8",
        "precision": "int8",
        "held": made.held,
        "drop": made.drop,
        "kept_fp32": list(made.kept_fp32),
        "tried": made.tried,
        "bytes": made.bytes,
        "metrics": first["metrics"],
        "parity": {"max_abs": max(float(row["max_abs"]) for row in rows), "against": "fp32"},
    }
    result = {
        "enabled": True,
        "metric": first["metric"],
        "max_drop": settings.max_drop,
        "default": "int8" if made.held else "fp32",
        "bundle": ["fp32", "int8"],
        "variants": [record],
        "tasks": rows,
    }
    write_json(folder / "quantize.json", result)
    summary = {"metric": first["metric"], **{key: record[key] for key in ("drop", "held", "kept_fp32", "bytes")}}
    return summary | {"graph": str(context.path("quantize") / "int8" / GRAPH)}


def _feeds(tasks: Sequence[Task], loaded: Mapping[str, LoadedAdapter], batch: int) -> list[dict[str, npt.NDArray[Any]]]:
    """Real rows of every task, each with its sigma, for ranking layers."""
    return [
        {**feeds, SIGMA: np.ascontiguousarray(loaded[task.name].reference)}
        for task in tasks
        for feeds in task.evaluation.feeds("validation", batch)
    ]
