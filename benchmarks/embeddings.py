"""Sentence embeddings by SVFit, against LoRA and full fine-tuning: a retrieval and a similarity, on MiniLM.

    python benchmarks/embeddings.py                          # 100 steps each: some hours on one core
    python benchmarks/embeddings.py --tasks jsts --methods svfit,lora:8
    python benchmarks/embeddings.py --size brief             # 40 steps, one rate, one seed: to see that it works
    python benchmarks/embeddings.py --table                  # prints what is there and stops

`banking77` finds the name of a question's intent ("card arrival") among all 77; a name that several rows of a batch
share is no negative of any of them. `jsts` are pairs of Japanese sentences with a score: MiniLM is an English model
that reads Japanese nearly letter by letter, so this is a far domain. "as it came" is the base model without training.

Each method is tried at three rates (√10 apart) with one seed and judged on validation rows; the best one is trained
with two more seeds; test rows are read for those three only. It goes on where it was interrupted (in
runs/embeddings-SIZE/). Keeps benchmarks/results/embeddings-SIZE-TASK.json. One thread each.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import gzip
import json
from pathlib import Path
from typing import Any

from rich.console import Console
from tasks import BASE, HERE, RATES, SEEDS, TEXT, _splits, keep_beside, listed, machine, named_methods, spread

from pipeline import __version__
from pipeline.compare.engine import Engine
from pipeline.compare.gather import method_result
from pipeline.compare.ledger import Ledger
from pipeline.compare.lock import alone
from pipeline.compare.problem import ConfiguredProblem
from pipeline.compare.progress import Bars
from pipeline.compare.worker import in_own_process
from pipeline.methods import Method
from pipeline.model.source import resolve
from pipeline.report.compare_words import share
from pipeline.stages.quiet import quiet_libraries
from pipeline.train.plan import Plan
from pipeline.train.predict import labels, outputs
from serve.files import sha256_json

METHODS = "svfit,lora:8,full,banded:2"
TASKS = ("banking77", "jsts")
COLUMNS = {"banking77": ["question", "intent"], "jsts": ["sentence1", "sentence2", "score"]}
SHOWN = {
    "banking77": ("mrr_at_10", "recall_at_1", "recall_at_5"),
    "jsts": ("cosine_spearman", "cosine_pearson"),
}


@dataclasses.dataclass(frozen=True)
class Size:
    """Rows of train, validation and test (0: all), and how much is tried."""

    rows: tuple[int, int, int]
    steps: int
    batch_size: int
    rates: int
    seeds: tuple[int, ...]


SIZES = {
    "brief": Size((600, 150, 150), 40, 16, 1, SEEDS[:1]),
    "short": Size((9003, 500, 1000), 100, 16, RATES, SEEDS),
    "full": Size((9003, 1000, 0), 1500, 32, RATES, SEEDS),
}


def results(size: str, name: str) -> Path:
    return HERE / "results" / f"embeddings-{size}-{name}.json"


def rows_of(name: str, sizes: tuple[int, int, int]) -> list[list[tuple[str, ...]]]:
    """Train, validation and test, each cut to its size."""
    if name == "banking77":
        train, validation, test = _splits(name, (sizes[0], max(sizes[1], 1000), sizes[2]))
        parts = [[(text, label.replace("_", " ")) for text, label in rows] for rows in (train, validation, test)]
    else:
        parts = []
        for split in ("train", "dev", "test"):
            with gzip.open(TEXT / "jglue_jsts" / f"{split}.csv.gz", "rt", encoding="utf-8", newline="") as file:
                parts.append([tuple(row[key] for key in COLUMNS[name]) for row in csv.DictReader(file)])
    return [rows[:size] if size else rows for rows, size in zip(parts, sizes, strict=True)]


def problem(name: str, size: Size, folder: Path) -> ConfiguredProblem:
    """The task as a person would have it: a file for each split, and a configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in zip(("train", "validation", "test"), rows_of(name, size.rows), strict=True):
        with (folder / f"{split}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([COLUMNS[name], *rows])
    (folder / "task.toml").write_text(
        f'[model]\nbase = "{BASE}"\nmax_length = 64\n\n[data]\ntask = "embedding"\ntrain = "train.csv"\n'
        f'validation = "validation.csv"\ntest = "test.csv"\ntext = {json.dumps(COLUMNS[name][:2])}\nlabel = "score"\n'
    )
    return ConfiguredProblem(folder / "task.toml")


def compare(name: str, size: str, chosen: list[Method], folder: Path) -> dict[str, Any]:
    """Every method on a task, and the base model as it came. What is trained already (in `folder`) isn't again."""
    set_up = SIZES[size]
    shared = {"svfit": __version__, "task": name, **dataclasses.asdict(set_up), "base": resolve(BASE).sha256()}
    methods = []
    with alone(folder), Bars(Console(stderr=True)) as bars, quiet_libraries():
        found = problem(name, set_up, folder)
        plan = Plan(max_steps=set_up.steps, batch_size=set_up.batch_size, metric=found.metric, checkpoint=False)
        trainings = len(chosen) * (set_up.rates + len(set_up.seeds) - 1)
        engine = Engine(
            found,
            plan,
            Ledger(folder),
            lambda cell: sha256_json(shared | dataclasses.asdict(cell)),
            sha256_json(shared),
            in_own_process,
            bars.watch(trainings, found.metric),
            threads=1,
        )
        for one in chosen:
            methods.append(dict(method_result(engine.sweep(one, set_up.rates, set_up.seeds), found.metric, None)))
        before = {split: as_it_came(found, split) for split in ("validation", "test")}
    return {"metric": found.metric, "before": before, "methods": methods}


def as_it_came(found: ConfiguredProblem, split: str) -> dict[str, float]:
    """Every metric of the base model without any training."""
    loaded = found.model()
    learning, rows = found.learning(loaded), found.rows(split, loaded)
    return found.score(learning, outputs(loaded.model, learning, rows), labels(learning, rows))


def keep(file: Path, name: str, size: str, found: dict[str, Any]) -> None:
    """Write the numbers of a task at a size, as `keep_beside` does."""
    set_up = {"task": name, "size": size} | dataclasses.asdict(SIZES[size])
    keep_beside(file, set_up, found["methods"], machine=machine(), metric=found["metric"], before=found["before"])


def table(size: str, names: list[str]) -> str:
    """Markdown: a table for each task that was measured, test rows."""
    parts = []
    for name in names:
        if not results(size, name).exists():
            continue
        document = json.loads(results(size, name).read_text("utf-8"))
        shown, before = SHOWN[name], document["before"]["test"]
        head = " | ".join(metric.replace("_", " ") for metric in shown)
        lines = [
            f"**{name}** ({document['steps']} steps of {document['batch_size']} rows; test rows)\n",
            f"| method | trained | of LoRA r=8 | rate | {head} |",
            "|---|---|---|---|" + "---|" * len(shown),
            f"| as it came | 0 | | | {' | '.join(f'{before[metric]:.4f}' for metric in shown)} |",
        ]
        for one in document["methods"]:
            if one["status"] != "done":
                lines.append(f"| {one['title']} | failed |")
                continue
            rate = f"{one['rate']:g}" + ("*" if one["at_edge"] else "")
            values = " | ".join(spread(one["test"][metric]) for metric in shown)
            trained = f"{one['trained']['adapter']:,} | {share(one['share_of_lora'])}"
            lines.append(f"| {one['title']} | {trained} | {rate} | {values} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=list(SIZES), default="short")
    parser.add_argument("--tasks", type=listed(TASKS), default=",".join(TASKS))
    parser.add_argument("--methods", type=named_methods, default=METHODS)
    parser.add_argument("--table", action="store_true", help="print what is there and stop")
    options = parser.parse_args()
    for name in [] if options.table else options.tasks:
        found = compare(name, options.size, options.methods, Path("runs") / f"embeddings-{options.size}" / name)
        keep(results(options.size, name), name, options.size, found)
    print(table(options.size, options.tasks))


if __name__ == "__main__":
    main()
