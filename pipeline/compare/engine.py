"""The order of a comparison: each method's rates with one seed, then the best rate with the other seeds, then test."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pipeline.compare import cell as cells
from pipeline.compare.cell import Cell
from pipeline.compare.ledger import Ledger
from pipeline.compare.problem import Problem
from pipeline.compare.worker import CrashError, Tell, Work
from pipeline.methods import Method
from pipeline.train.metrics import HIGHER_IS_BETTER
from pipeline.train.plan import Plan
from serve.errors import InputError

Run = Callable[[Work, Path, Tell], dict[str, Any]]
"""Does work, as `worker.in_own_process` does."""
Record = dict[str, Any]
OUTPUT = "output.txt"
"""What a process printed, which matters where it crashed."""


class Watcher(Protocol):
    """Told what a comparison is at."""

    def begin(self, cell: Cell, phase: str) -> None: ...

    def step(self, done: int, total: int) -> None: ...

    def end(self, cell: Cell, record: Record, *, kept: bool) -> None:
        """A cell was trained, or `kept`: its record was there already."""
        ...

    def again(self, cell: Cell) -> None:
        """A cell is trained once more, as what it learned is gone and its test rows weren't read; its end is told."""
        ...

    def skip(self, cells: int) -> None:
        """So many cells won't be trained, as no rate of their method can be."""
        ...


@dataclass(frozen=True)
class Swept:
    """A method's cells: every rate with the first seed; the chosen rate with the seeds that went through."""

    method: Method
    tried: list[tuple[float, Record]]
    rate: float | None
    seeds: list[tuple[int, Record]]
    """Of the chosen rate, every seed, in order."""

    @property
    def finished(self) -> list[tuple[int, Record]]:
        return [(seed, record) for seed, record in self.seeds if record["status"] == "done"]


@dataclass(frozen=True)
class Engine:
    """Trains and keeps what it trained; the same cells with the same fingerprints aren't trained twice."""

    problem: Problem
    plan: Plan
    ledger: Ledger
    fingerprint: Callable[[Cell], str]
    """Of all that decides a cell's training."""
    test_sha256: str | None
    """Of the test rows; None where there are none."""
    run: Run
    watcher: Watcher
    threads: int = 0

    def sweep(self, method: Method, rates: int, seeds: Sequence[int]) -> Swept:
        """The best of `rates` on validation with the first seed, then with the others, then on the test rows.

        What a cell learned is deleted once its test rows are read, or another rate has won; without test rows it stays.
        Raises `UsageError` where a training says that what was asked makes no sense.
        """
        tried = [(rate, self._trained(method, Cell(method.key, rate, seeds[0]))) for rate in method.rates(rates)]
        done = [(rate, record) for rate, record in tried if record["status"] == "done"]
        if not done:
            self.watcher.skip(len(seeds) - 1)
            return Swept(method, tried, None, [])
        rate, first = max(done, key=lambda pair: self._worth(pair[1]))
        for lost, _ in tried:
            if lost != rate:
                self.ledger.forget(Cell(method.key, lost, seeds[0]))
        found = []
        for seed in seeds:
            cell = Cell(method.key, rate, seed)
            record = first if seed == seeds[0] else self._trained(method, cell)
            found.append((seed, self._tested(method, cell, record)))
            if "test" in found[-1][1]:
                self.ledger.forget(cell)
        return Swept(method, tried, rate, found)

    def _worth(self, record: Record) -> tuple[float, float]:
        """By the metric; where it is the same, by the loss."""
        reached = record["validation"]
        sign = 1 if HIGHER_IS_BETTER[self.problem.metric] else -1
        return sign * reached[self.problem.metric], -reached["loss"]

    def _trained(self, method: Method, cell: Cell) -> Record:
        """The record of a cell, from the ledger or trained now."""
        record = self.ledger.read(cell, self.fingerprint(cell))
        kept = record is not None and record["status"] != "crashed"
        if record is None or not kept:
            record = self._train(method, cell)
        self.watcher.end(cell, record, kept=kept)
        return record

    def _train(self, method: Method, cell: Cell) -> Record:
        folder = self.ledger.begin(cell)
        self.watcher.begin(cell, "training")
        began = time.perf_counter()
        record: Record
        try:
            work = Training(self.problem, cell, self.plan, folder, method, self.threads)
            record = {"status": "done", **self.run(work, folder / OUTPUT, self.watcher.step)}
        except (InputError, CrashError) as error:
            record = {"status": "failed" if isinstance(error, InputError) else "crashed", "reason": str(error)}
        record["wall_seconds"] = time.perf_counter() - began
        self.ledger.write(cell, self.fingerprint(cell), record)
        return record

    def _tested(self, method: Method, cell: Cell, record: Record) -> Record:
        """The record of a cell of the chosen rate, with its `test` where there are test rows."""
        if record["status"] == "done" and not self._is_tested(record) and not self.ledger.holds(cell):
            self.watcher.again(cell)  # it lost another comparison here, of other rates, or the test rows are others
            record = self._train(method, cell)
            self.watcher.end(cell, record, kept=False)
        if record["status"] != "done" or self._is_tested(record):
            return record
        self.watcher.begin(cell, "test rows")
        place = self.ledger.place(cell)
        try:
            work = Testing(self.problem, cell, self.plan, place, method, self.threads)
            measured = self.run(work, place / OUTPUT, self.watcher.step)
        except (InputError, CrashError) as error:  # not written down: next time only the test rows are read again
            return record | {"status": "crashed", "reason": f"on the test rows: {error}"}
        record = record | {"test": measured, "test_sha256": self.test_sha256}
        self.ledger.write(cell, self.fingerprint(cell), record)
        return record

    def _is_tested(self, record: Record) -> bool:
        return self.test_sha256 is None or record.get("test_sha256") == self.test_sha256


@dataclass(frozen=True)
class Training:
    """One cell's training as work that goes to another process."""

    problem: Problem
    cell: Cell
    plan: Plan
    folder: Path
    method: Method
    threads: int

    def __call__(self, tell: Tell) -> Record:
        _use(self.threads)
        return cells.train(self.problem, self.cell, self.plan, self.folder, chosen=self.method, tell=tell)


class Testing(Training):
    """One cell's test rows."""

    __test__ = False

    def __call__(self, tell: Tell) -> Record:
        _use(self.threads)
        return dict(cells.test(self.problem, self.cell, self.folder, plan=self.plan, chosen=self.method))


def _use(threads: int) -> None:
    import torch

    if threads:
        torch.set_num_threads(threads)
