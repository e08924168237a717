"""Stage `swap`: several trained adapters on one backbone, the directions they move, and what that costs and loses."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from export.adapter import Adapter
from export.basis import Factors
from export.graph import export_onnx
from export.measure import repeat_row
from export.parity import random_batches
from export.store import FactorStore
from export.swap.build import HeadGraph, SwapFiles, build_swap
from export.swap.classes import class_axes
from export.swap.directions import Choice, LayerMoves, choose, kept_share
from export.swap.draft import Draft
from export.swap.inject import LayerPlan
from export.swap.lift import lift, same_directions
from export.swap.moved import direction_energy
from export.swap.price import price
from export.swap.shapes import PROBES, Feeds
from pipeline.stages.context import Context, read_result
from pipeline.stages.evaluate import Evaluation, scalars
from pipeline.stages.export import GRAPH, input_spec
from pipeline.stages.others import other_run
from pipeline.stages.settle import settle
from pipeline.stages.swap_checks import check_swap
from pipeline.stages.unfolded import NAME, with_adapter
from pipeline.train.learning import sample_of
from serve.adapters.native import write_native
from serve.adapters.versions import checked_name
from serve.errors import GateError, InputError, UsageError
from serve.files import write_json
from serve.manifest import BaseSpec, Inputs, InputSpec

ADAPTERS = "adapters"
CALIBRATION = 16  # batches of real rows, for the energies
TRIES = 5


@dataclass(frozen=True)
class Task:
    """One of the adapters: the run that made it, and what it learned with all of its directions."""

    name: str
    run: Context
    adapter: Adapter
    inputs: Inputs
    evaluation: Evaluation

    @classmethod
    def of(cls, run: Context) -> Task:
        inputs, adapter = input_spec(run), Adapter.load(run.path("adapter"))
        if adapter.core.kind != "diagonal":
            raise InputError(
                f"{run.path('adapter')}: its core is {adapter.core}, a swappable graph takes diagonal adapters only; "
                'use export.mode = "merged", or train with adapter.core = "diagonal"'
            )
        return cls(run.config.name, run, adapter, inputs, Evaluation(run, inputs))

    @property
    def merged(self) -> Path:
        return self.run.path("export") / GRAPH


def swap(context: Context, folder: Path) -> dict[str, Any]:
    """Writes the graphs, adapters/<name>/ of each task, and swap.json. Raises `GateError` where parity fails."""
    settings = context.config.export
    tasks = [Task.of(run) for run in [context, *(other_run(Path(run), context.console) for run in settings.adapters)]]
    tasks = _on_one_basis(tasks, context)
    factors = dict(FactorStore().load(tasks[0].adapter.basis))
    moves = _moves(tasks, context, factors)
    inputs = tasks[0].inputs
    if isinstance(inputs, InputSpec):
        inputs = replace(inputs, max_length=max(task.inputs.max_length for task in tasks))
    choices, files, paid = _within_budget(context, tasks, moves, factors, folder)
    kept = {name: choice.kept for name, choice in choices.items()}
    shares = dict(zip([task.name for task in tasks], kept_share(moves, choices), strict=True))
    settled: dict[str, Adapter] = {}
    for task in tasks:
        context.say(f"{task.name}: {shares[task.name]:.0%} of what it adds is on {files.width:,} directions; settling")
        place = folder / ADAPTERS / task.name
        place.mkdir(parents=True)
        settled[task.name] = _settled(task, kept, settings.settle_epochs)
        settled[task.name].save(place)
    first = tasks[0]
    draft = Draft(
        folder,
        files,
        inputs,
        BaseSpec(**context.base),
        first.adapter.basis.id,
        context.path("merged"),
    )
    loaded = {task.name: draft.load(folder / ADAPTERS / task.name, task.name) for task in tasks}
    for task in tasks:
        write_native(loaded[task.name], draft.swap, folder / ADAPTERS / task.name)
    context.say("checking parity")
    parity = check_swap({task.name: (task.run, settled[task.name]) for task in tasks}, draft, loaded, settings.parity)
    context.say("measuring fp32")
    rows = [_measured(task, draft, loaded[task.name], shares[task.name]) for task in tasks]
    for row in rows:
        one = settled[row["name"]]
        card = {**one.card, "metrics": {"validation": scalars(row["metrics"]["validation"])}}
        replace(one, card=card).save(folder / ADAPTERS / row["name"])
        if row["drop"] > settings.swap_max_drop:
            context.say(
                f"! {row['name']} loses {row['drop']:.2f} points of {row['metric']} (export.swap_max_drop:"
                f" {settings.swap_max_drop:g}); raise export.swap_budget or export.settle_epochs"
            )
    result = {
        "files": {**asdict(files), "layers": [asdict(layer) for layer in files.layers]},
        "inputs": asdict(inputs),
        "price": paid,
        "parity": parity,
        "tasks": rows,
    }
    write_json(folder / "swap.json", result)
    return {
        "directions": files.width,
        "price": paid,
        "parity": parity["max_abs"],
        "tasks": [{key: row[key] for key in ("name", "metric", "full", "served", "drop")} for row in rows],
    }


def _on_one_basis(tasks: Sequence[Task], context: Context) -> list[Task]:
    """The tasks, where they keep different directions each adapter lifted to all of them."""
    names = [task.name for task in tasks]
    if len(set(names)) < len(names):
        raise UsageError(f"export.adapters: two runs are called the same ({', '.join(names)}); rename a configuration")
    for name in names:
        checked_name(name)
    first = tasks[0]
    for task in tasks[1:]:
        if set(task.inputs.names) != set(first.inputs.names):
            raise InputError(
                f"export.adapters: {task.name} takes {', '.join(task.inputs.names)},"
                f" {first.name} {', '.join(first.inputs.names)}; one backbone takes the same"
            )
    adapters = {task.name: task.adapter for task in tasks}
    if same_directions(adapters):
        return list(tasks)
    onto = [task for task in tasks if task.run.config.adapter.onto is not None]
    if onto:
        others = next((task for task in tasks if task.adapter.basis.id != onto[0].adapter.basis.id), tasks[0])
        raise InputError(
            f"export.adapters: {onto[0].name} was trained for a bundle (adapter.onto) on its basis"
            f" {onto[0].adapter.basis.id}, {others.name} on {others.adapter.basis.id}; train both without adapter.onto"
        )
    try:
        lifted = lift(adapters, FactorStore())
    except InputError as error:
        raise InputError(f"export.adapters: {error}") from None
    basis = lifted[names[0]].basis
    context.say(f"chosen directions: lifted to all {basis.size:,} of basis {basis.id[:12]}")
    return [replace(task, adapter=lifted[task.name]) for task in tasks]


def _moves(tasks: Sequence[Task], context: Context, factors: Mapping[str, Factors]) -> dict[str, LayerMoves]:
    basis = tasks[0].adapter.basis
    Vh = {name: layer.Vh.numpy() for name, layer in factors.items()}
    shares: dict[str, list[Any]] = {name: [] for name in basis.layers}
    for task in tasks:
        context.say(f"{task.name}: measuring what each direction adds")
        delta = {name: value.numpy() for name, value in task.adapter.delta.items()}
        batches = task.evaluation.feeds("validation", CALIBRATION)
        for name, energy in direction_energy(onnx.load(str(task.merged)), delta, Vh, batches).items():
            shares[name].append(energy / energy.sum() if energy.sum() > 0 else energy)
    return {name: LayerMoves(*basis.layers[name].shape, np.stack(rows)) for name, rows in shares.items()}


def _within_budget(
    context: Context,
    tasks: Sequence[Task],
    moves: Mapping[str, LayerMoves],
    factors: Mapping[str, Factors],
    folder: Path,
) -> tuple[dict[str, Choice], SwapFiles, dict[str, float]]:
    """Choose by counting multiply-adds, build, time it; where it took longer than its count said, choose fewer."""
    budget, first = context.config.export.swap_budget, tasks[0]
    heads = _heads(tasks)
    weights = {name: value.numpy() for name, value in first.adapter.modules.items()}
    single = first.evaluation.median_row()
    batches = {"batch_1": single, "batch_16": repeat_row(single, 16)}
    asked = budget
    for _ in range(TRIES):
        choices = choose(moves, asked)
        plans = {}
        for name, choice in choices.items():
            U, S, Vh = (part.numpy() for part in (factors[name].U, factors[name].S, factors[name].Vh))
            kept = list(choice.kept)
            plans[name] = LayerPlan(choice.form, len(S), choice.kept, Vh.T[:, kept], S[kept], U.T[kept])
        files = build_swap(plans, heads, folder)
        measured = price(first.merged, folder, files, weights, batches)
        worst = max(measured.values())
        context.say(f"{files.width:,} directions: {worst:.2f} of the merged graph's time (budget {budget:g})")
        if worst <= budget:
            return choices, files, {"budget": budget, **measured}
        asked = 1 + (asked - 1) * max(0.5, 0.97 * (budget - 1) / (worst - 1))
    raise GateError(
        f"export.swap_budget: {budget:g} of the merged graph's time isn't enough on this machine ({worst:.2f} with"
        f" {files.width:,} directions); raise it, or export merged"
    )


def _heads(tasks: Sequence[Task]) -> list[HeadGraph]:
    """A head for each kind of task: those alike in what they give, in pooling, and in the weights that they bring."""
    found: dict[tuple[Any, ...], Task] = {}
    for task in tasks:
        kind = task.evaluation.served.kind
        found.setdefault((kind, task.adapter.card["pooling"], *sorted(task.adapter.modules)), task)
    names = Counter(task.run.task.name for task in found.values())
    heads = []
    for (kind, pooling, *_), task in found.items():
        own = task.run.task.name
        name = "default" if len(found) == 1 else own if names[own] == 1 else f"{own}-{pooling}"
        heads.append(HeadGraph(*_base_graph(task), name, pooling, kind))
    return heads


def _base_graph(task: Task) -> tuple[onnx.ModelProto, dict[str, int | None], list[Feeds]]:
    """The base model with the task's head as a graph; its whole parameters' class axes; batches to probe it with."""
    adapter, run = task.adapter, task.run
    loaded, svfit = with_adapter(run, adapter)
    for layer in svfit.layers.values():
        layer.delta[NAME].data.zero_()
    svfit.fold(NAME)
    plain: Any = svfit.merged()
    with tempfile.TemporaryDirectory() as temporary:  # read as stage `export` reads it, so that the graphs are alike
        plain.save_pretrained(temporary)
        loaded.reader.save_pretrained(temporary)
        read = run.task.merged(Path(temporary))
    rows = run.task.rows(read, run.dataset.validation.first(2), adapter.card["max_length"])
    learning = run.task.learning(read)
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / GRAPH
        metadata = {"svfit.base": adapter.card["base"]["name"]}
        info = export_onnx(read.model, sample_of(learning, rows), path, metadata, learning.output)
        graph = onnx.load(str(path))
    axes = class_axes(read.model, adapter.modules)
    if not isinstance(task.inputs, InputSpec):
        return graph, axes, [batch.feeds for batch in run.task.batches(task.inputs, read, 1, 0)]
    batches = random_batches(
        info.inputs,
        vocabulary=int(read.model.config.vocab_size),
        pad_id=task.inputs.pad_id,
        max_length=adapter.card["max_length"],
        padding_side=task.inputs.padding_side,
        pad_type_id=task.inputs.pad_type_id,
        shapes=PROBES,
    )
    return graph, axes, [batch.feeds for batch in batches if batch.padded]


def _settled(task: Task, kept: Mapping[str, Sequence[int]], epochs: int) -> Adapter:
    lost = any(bool(np.delete(value.numpy(), list(kept[name])).any()) for name, value in task.adapter.delta.items())
    return settle(task.run, task.adapter, kept, epochs) if lost else task.adapter


def _measured(task: Task, draft: Draft, loaded: Any, share: float) -> dict[str, Any]:
    """One task's accuracy through the swappable graph, beside that of its own merged graph at full rank."""
    metrics = task.evaluation.every(draft.session(loaded, task.name))
    full = read_result(task.run.path("export"), "export.json")["metrics"]
    metric = task.evaluation.metric
    return {
        "name": task.name,
        "metric": metric,
        "kept_share": share,
        "full": full["validation"][metric],
        "served": metrics["validation"][metric],
        "drop": 100 * (full["validation"][metric] - metrics["validation"][metric]),
        "metrics": metrics,
        "full_metrics": full,
    }
