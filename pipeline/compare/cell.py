"""One training of a comparison: a method at a rate with a seed. Runs in a process of its own."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from safetensors.torch import load_file, save_file
from transformers import set_seed

from pipeline.compare.problem import Problem
from pipeline.methods import Method, method
from pipeline.stages.quiet import quiet_libraries
from pipeline.train.fit import Fit, fit, make_trainer
from pipeline.train.plan import Plan

TRAINED = "trained.safetensors"


@dataclass(frozen=True)
class Cell:
    """A method (as a person names it) at a learning rate with a seed."""

    method: str
    rate: float
    seed: int

    @property
    def key(self) -> str:
        """A file name."""
        return f"{self.method.replace(':', '-')}_{self.rate:g}_{self.seed}"


def train(problem: Problem, cell: Cell, plan: Plan, folder: Path) -> dict[str, Any]:
    """Train one cell and leave what it learned in `folder/trained.safetensors`; test rows are not touched.

    Gives what it took and reached: `trained` (values of adapter and head), `bytes` that they take in float32,
    `validation` (metrics of the best epoch), `curve` and `epochs` (loss and validation metrics, with steps and
    seconds), `seconds`, `seconds_per_step`, `steps`, `peak_memory_bytes` (of the process, or of the GPU), `device`.
    """
    began = time.perf_counter()
    with quiet_libraries():
        chosen, tuned, loaded = _prepare(problem, cell)
        prepared = time.perf_counter() - began
        found = _fit(problem, cell, plan, chosen, tuned, loaded)
    save_file(found.trainer.trained(), str(folder / TRAINED))
    record, counts = found.record, chosen.count(tuned)
    best = next(row for row in record["validation"] if row["epoch"] == record["best"]["epoch"])
    return {
        **dataclasses.asdict(cell),
        "title": chosen.title,
        "trained": counts,
        "bytes": 4 * sum(counts.values()),
        "validation": {key: value for key, value in best.items() if key not in ("step", "epoch", "seconds")},
        "best_epoch": best["epoch"],
        "curve": record["curve"],
        "epochs": record["validation"],
        "prepare_seconds": prepared,
        **{key: record[key] for key in ("seconds", "seconds_per_step", "steps", "peak_memory_bytes", "device")},
    }


def test(problem: Problem, cell: Cell, folder: Path) -> dict[str, float]:
    """Every metric on the test rows of what `train` left in `folder`."""
    with quiet_libraries():
        _, tuned, loaded = _prepare(problem, cell)
        rows = problem.rows("test", loaded)
        plan = Plan(seed=cell.seed, checkpoint=False)
        with tempfile.TemporaryDirectory() as scratch:
            trainer = make_trainer(
                tuned, loaded.tokenizer, plan, Path(scratch), task=problem.task, train=rows, validation=rows
            )
            trainer.put(load_file(folder / TRAINED))
            found = trainer.predict(rows)
            return problem.score(found.predictions, found.label_ids)


def _prepare(problem: Problem, cell: Cell) -> tuple[Method, Any, Any]:
    set_seed(cell.seed)
    loaded = problem.model()
    chosen = method(cell.method)
    return chosen, chosen.prepare(loaded), loaded


def _fit(problem: Problem, cell: Cell, plan: Plan, chosen: Method, tuned: Any, loaded: Any) -> Fit:
    own = dataclasses.replace(plan, seed=cell.seed, metric=problem.metric, checkpoint=False)
    if chosen.of_head:
        own = dataclasses.replace(own, head_learning_rate=cell.rate)
    else:
        own = dataclasses.replace(own, learning_rate=cell.rate)
    with tempfile.TemporaryDirectory() as scratch:
        return fit(
            tuned,
            loaded.tokenizer,
            problem.rows("train", loaded),
            problem.rows("validation", loaded),
            task=problem.task,
            plan=own,
            folder=Path(scratch),
            console=Console(stderr=True, quiet=True),
            measure=problem.score,
        )
