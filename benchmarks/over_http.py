"""Two real tasks in mixed batches over HTTP: the accuracy of each, every request holding rows of both.

    python benchmarks/over_http.py BUNDLE                  # a bundle with banking77 and clinc150; 2 minutes
    python benchmarks/over_http.py BUNDLE --variant int8

All test rows of both tasks, shuffled together, 32 a request, an adapter for each row, to a `svfit serve` of its own.
Keeps benchmarks/results/over-http-<variant>.json.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from common import TEXTS
from web import Connection, request, serving

from serve.files import write_json
from serve.machine import describe

TASKS, ROWS = ("banking77", "clinc150"), 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--variant", default="fp32")
    options = parser.parse_args()
    rows = [(task, *row) for task in TASKS for row in read(TEXTS.parents[1] / task / "test.csv")]
    random.Random(0).shuffle(rows)  # noqa: S311  (an order, not a secret)
    requests = [rows[start : start + ROWS] for start in range(0, len(rows), ROWS)]
    with serving(options.bundle, "--variant", options.variant) as (url, _), ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda part: ask(url, part), requests))
    told: dict[str, Any] = {"variant": options.variant, "machine": describe(), "requests": len(requests), "tasks": {}}
    for task in TASKS:
        pairs = [
            (answer["label"], truth)
            for part, found in zip(requests, answers, strict=True)
            for (name, _, truth), answer in zip(part, found, strict=True)
            if name == task
        ]
        known = [(label, truth) for label, truth in pairs if truth != "oos"]
        told["tasks"][task] = {
            "rows": len(pairs),
            "accuracy": round(sum(label == truth for label, truth in pairs) / len(pairs), 4),
            "accuracy_without_oos": round(sum(label == truth for label, truth in known) / len(known), 4),
        }
    write_json(Path(__file__).parent / "results" / f"over-http-{options.variant}.json", told)
    print(json.dumps(told["tasks"], indent=1))


def read(path: Path) -> list[tuple[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return [(row["text"], row["label"]) for row in csv.DictReader(file)]


def ask(url: str, part: list[tuple[str, str, str]]) -> list[dict[str, Any]]:
    body = {"adapter": [task for task, _, _ in part], "text": [text for _, text, _ in part], "top": 1}
    connection = Connection(url)
    try:
        found: list[dict[str, Any]] = json.loads(connection.ask(request("/v1/predict", body)))["results"]
    finally:
        connection.close()
    return found


if __name__ == "__main__":
    main()
