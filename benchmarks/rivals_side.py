"""One side of rivals.py in a process of its own, so that its memory is its own: commands on stdin, answers on stdout.

    python benchmarks/rivals_side.py SIDE BUNDLE COUNT THREADS

A command is a line of JSON: {"do": "run", "shape": "single" | "same" | "mixed", "seed": n, "seconds": s} gives the
seconds of each request; {"do": "memory"} gives MB; {"do": "answers"} gives
probabilities for the same few rows on every side.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import LABELS, memory_mb, small_adapters, texts

from serve.answers import Prediction
from serve.bundle import Bundle
from serve.runtime import Runtime
from serve.tasks.text_classification import likeliest

BATCH = 16
EXACT = 4  # tasks whose answers are compared; every side has as many
SHAPES = ("single", "same", "mixed")
Answering = Callable[[Sequence[str], Sequence[str]], Sequence[Prediction]]


class Svfit:
    """This project's runtime, as a library."""

    def __init__(self, bundle: Bundle, count: int, variant: str, threads: int, state: Path) -> None:
        self._runtime = Runtime(bundle, state=state, variant=variant, threads=threads)
        self.tasks = [f"task-{number}" for number in range(count)]
        for task, files in zip(self.tasks, small_adapters(bundle, count), strict=True):
            self._runtime.add(files, task)

    def close(self) -> None:
        self._runtime.close()

    def answer(self, texts: Sequence[str], tasks: Sequence[str]) -> Sequence[Prediction]:
        """All rows in one call, whatever their adapters."""
        return self._runtime.predict(texts, tasks)


def opened(name: str, bundle: Bundle, count: int, threads: int, state: Path) -> tuple[list[str], Answering]:
    """A side's tasks, and what answers: for each row a label with its score, and every label's probability."""
    if name.startswith("svfit"):
        side = Svfit(bundle, count, name.split()[1], threads, state)
        return side.tasks, side.answer
    adapters = small_adapters(bundle, count)
    if name == "merged":
        from rivals_merged import MergedModels

        merged = MergedModels(bundle, adapters, threads=threads)
        tasks, logits = merged.tasks, merged.split
    else:
        from rivals_torch import PeftModels

        models = PeftModels(bundle, adapters, threads=threads, exact=name == "peft exact")
        tasks, logits = models.tasks, models.together if name == "peft mixed" else models.split
    return tasks, lambda rows, names: [likeliest("text-classification", row, LABELS) for row in logits(rows, names)]


def requests(shape: str, tasks: Sequence[str], seed: int) -> Any:
    """An endless stream of (texts, tasks): one text, 16 of one task, or 16 of as many tasks as there are."""
    rows, random = texts(512), np.random.default_rng(seed)
    size = 1 if shape == "single" else BATCH
    while True:
        chosen = random.choice(len(tasks), size, replace=len(tasks) < size)
        names = [tasks[place] for place in chosen] if shape == "mixed" else [tasks[chosen[0]]] * size
        yield [rows[place] for place in random.integers(len(rows), size=size)], names


def main() -> None:
    name, path, count, threads = sys.argv[1:5]
    with tempfile.TemporaryDirectory() as folder:
        tasks, answer = opened(name, Bundle.open(path), int(count), int(threads), Path(folder) / "state")
        for shape in SHAPES:  # as every side has answered before its memory is read
            for _, (rows, names) in zip(range(20), requests(shape, tasks, 0), strict=False):
                answer(rows, names)
        print(json.dumps("ready"), flush=True)
        for line in sys.stdin:
            command = json.loads(line)
            if command["do"] == "memory":
                print(json.dumps(memory_mb()), flush=True)
            elif command["do"] == "answers":
                pairs = [(text, tasks[place % EXACT]) for place, text in enumerate(texts(8))]
                given = answer([text for text, _ in pairs], [task for _, task in pairs])
                print(json.dumps([list((one.probabilities or {}).values()) for one in given]), flush=True)
            else:
                print(json.dumps(taken(answer, tasks, command)), flush=True)


def taken(answer: Answering, tasks: Sequence[str], command: dict[str, Any]) -> list[float]:
    """Seconds of each request of a round; the first few are not counted."""
    found = []
    end = time.perf_counter() + command["seconds"]
    for number, (rows, names) in enumerate(requests(command["shape"], tasks, command["seed"])):
        start = time.perf_counter()
        answer(rows, names)
        now = time.perf_counter()
        if number >= 3:
            found.append(now - start)
        if now >= end and found:
            return found
    return found


if __name__ == "__main__":
    main()
