"""What else SVFit could be: how its values are set, what is trained beside them, and which directions they belong to.

    python benchmarks/variants.py                          # about an hour on one core; goes on where it was interrupted
    python benchmarks/variants.py --tasks ncbi_disease --variants svfit,relative
    python benchmarks/variants.py --table

On the tasks of `proof.py`, a hundred steps each (enough to tell apart what differs by points, not by tenths), judged on
validation rows with one seed: three rates for what changes how values move, the usual one for which directions a budget
of 1,728 (an eighth of MiniLM's) buys. Keeps benchmarks/results/variants-TASK.json.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from tasks import HERE, SIZES, compare, keep, listed, metric, problem
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from export.core import Core
from export.store import FactorStore
from pipeline.compare.problem import Problem
from pipeline.config import AdapterSection, TrainSection
from pipeline.methods import Method, method, svf
from pipeline.model.load import Loaded
from pipeline.stages.ranks import choose
from pipeline.svf import SVFit
from pipeline.svf.decompose import decompose
from pipeline.svf.spread import spread
from pipeline.svf.targets import find_targets

SIZE = "brief"
BUDGET = 1728
VARIANTS = ("svfit", "relative", "norms", "biases", "score", "energy", "uniform", "minor")


def relative(loaded: Loaded) -> SVFit:
    """`delta = S ∘ rho` with `rho` trained (relative, as EigenTune has it): AdamW's step doesn't depend on the
    gradient's scale, so it is the step of `delta`, times `S`."""
    svfit = svf.prepare(loaded, Core(), "full")
    layers = list(svfit.layers.values())
    before: list[torch.Tensor] = []

    def remember(*_: Any) -> None:
        before[:] = [layer.delta[svf.NAME].detach().clone() for layer in layers]

    def scale(*_: Any) -> None:
        with torch.no_grad():
            for layer, old in zip(layers, before, strict=True):
                delta = layer.delta[svf.NAME]
                delta.copy_(old + layer.S * (delta - old))

    register_optimizer_step_pre_hook(remember)
    register_optimizer_step_post_hook(scale)
    return svfit


def chosen(loaded: Loaded, task: Problem, way: str) -> SVFit:
    """`BUDGET` directions: by `score`, as the product does, by `energy`, or each layer's first (`uniform`) or last
    (`minor`)."""
    if way == "score":
        learning, rows = task.learning(loaded), task.rows("train", loaded)
        adapter = AdapterSection.model_validate({"rank": "auto", "budget": BUDGET})
        _, found = choose(loaded, loaded.whole, adapter, TrainSection(), learning, rows)
        return svf.prepare(loaded, Core(), "full", found=found)
    known = decompose(find_targets(loaded.model, "all-linear", loaded.whole), "full", FactorStore())
    sizes = {name: min(layer.shape) for name, layer in known.basis.layers.items()}
    places = spread(BUDGET, Core(), by_energy(known.spectra) if way == "energy" else evenly(sizes))
    if way == "minor":
        places = {name: list(range(sizes[name] - len(first), sizes[name])) for name, first in places.items()}
    return svf.prepare(loaded, Core(), "full", directions=places)


def by_energy(spectra: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What each direction is worth by its share of its layer's squared singular values, `(directions,)`, float64."""
    found = {}
    for name, S in spectra.items():
        squares = S.detach().double().cpu().square()
        found[name] = squares / squares.sum().clamp(min=torch.finfo(torch.float64).tiny)
    return found


def evenly(counts: Mapping[str, int]) -> dict[str, torch.Tensor]:
    """What each of so many directions is worth where every layer shall have the same rank, `(directions,)`, float64."""
    return {name: 1.0 / torch.arange(1, count + 1, dtype=torch.float64) for name, count in counts.items()}


def variants(task: Problem) -> dict[str, tuple[Method, int]]:
    """By key: what is trained, and how many rates it is tried at."""
    svfit = method("svfit").rate

    def one(key: str, title: str, prepare: Callable[[Loaded], SVFit], rate: float, rates: int) -> tuple[Method, int]:
        return Method(
            key, title, prepare, rate, trained=svf.trained, form=svf.directions if rates == 1 else None, again=_again
        ), rates

    within = partial(svf.prepare, core=Core(), rank=256, train_layernorm=True)
    beside = partial(svf.prepare, core=Core(), rank="full", train_bias=True)
    found = {
        "svfit": (method("svfit"), 3),
        "relative": one("relative", "relative to the singular value", relative, svfit / 3, 3),
        "norms": one("norms", "r=256 and LayerNorms", within, svfit, 3),
        "biases": one("biases", "and biases", beside, svfit, 3),
    }
    ways = {"score": "by score", "energy": "by energy", "uniform": "the first", "minor": "the last"}
    for way, said in ways.items():
        title = f"{BUDGET:,} directions, {said}" + (" of each layer" if way in ("uniform", "minor") else "")
        found[way] = one(way, title, partial(chosen, task=task, way=way), svfit, 1)
    return found


def _again(loaded: Loaded, form: dict[str, Any]) -> SVFit:
    return svf.prepare(loaded, Core(), "full", directions=form)


def results(name: str) -> Path:
    return HERE / "results" / f"variants-{name}.json"


def table(names: list[str]) -> str:
    """Markdown: a row for each variant, a column for each task."""
    cells: dict[str, dict[str, str]] = {}
    for name in names:
        if results(name).exists():
            done = [one for one in json.loads(results(name).read_text("utf-8"))["methods"] if one["status"] == "done"]
            for one in done:
                values = cells.setdefault(f"{one['title']} | {one['trained']['adapter']:,}", {})
                values[name] = f"{one['validation'][metric(name)]['mean']:.3f} at {one['rate']:g}"
    lines = [f"| variant | trained | {' | '.join(names)} |", f"|---|---|{'---|' * len(names)}"]
    lines += [f"| {title} | {' | '.join(row.get(name, '–') for name in names)} |" for title, row in cells.items()]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    few = "banking77,clinc150,ncbi_disease"
    parser.add_argument("--tasks", type=listed(SIZES[SIZE]), default=few, help=f"of {', '.join(SIZES[SIZE])}")
    parser.add_argument("--variants", type=listed(VARIANTS), default=",".join(VARIANTS))
    parser.add_argument("--table", action="store_true", help="print what is there and stop")
    options = parser.parse_args()
    for name in [] if options.table else options.tasks:
        folder = Path("runs") / f"proof-{SIZE}" / name
        every = variants(problem(name, SIZE, folder))
        found = []
        for key in options.variants:
            one, rates = every[key]
            found += compare(name, SIZE, [one], folder, Console(stderr=True), rates=rates, seeds=(0,), tested=False)
        keep(results(name), name, SIZE, found)
    print(table(options.tasks))


if __name__ == "__main__":
    main()
