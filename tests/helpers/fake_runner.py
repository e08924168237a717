"""Runners for the scheduler's tests: one that answers what it was given, one that waits to be let go."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from serve.batching.scheduler import Scheduler
from serve.batching.submission import Submission
from serve.pieces import Output
from serve.tokenize import Tokens

WAIT = 10.0  # seconds; only a test that fails waits so long


def row(length: int, mark: int = 0) -> Tokens:
    return np.full((3, length), mark, dtype=np.int64)


def items(*lengths: int, pin: Any = None) -> list[tuple[Tokens, Any]]:
    """Rows that are marked by their place."""
    return [(row(length, mark), pin) for mark, length in enumerate(lengths)]


class Echo:
    """Answers [length, mark, pin] for each row; what it does before that is the test's."""

    def __init__(self, work: Callable[[Sequence[Tokens]], None] = lambda _: None) -> None:
        self.work = work
        self.batches: list[list[int]] = []

    def run(self, tokens: Sequence[Tokens], pins: Sequence[Any], /) -> list[Output]:
        self.batches.append([column.shape[1] for column in tokens])
        self.work(tokens)
        return [
            np.array([column.shape[1], column[0, 0], float(pin or 0)], dtype=np.float32)
            for column, pin in zip(tokens, pins, strict=True)
        ]


class Gate(Echo):
    """Holds every run until the gate opens; `begun` counts runs."""

    def __init__(self) -> None:
        super().__init__(self._hold)
        self.open = threading.Event()
        self.begun = threading.Semaphore(0)

    def _hold(self, tokens: Sequence[Tokens]) -> None:
        self.begun.release()
        assert self.open.wait(WAIT)

    def busy(self, scheduler: Scheduler) -> Submission:
        """Keep one worker of the scheduler in a run."""
        submission = scheduler.submit(items(3))
        assert self.begun.acquire(timeout=WAIT)
        return submission


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def answers(submission: Submission) -> list[list[float]]:
    return [logits.tolist() for logits in submission.future.result(WAIT)]


def bad(tokens: Sequence[Tokens]) -> None:
    if any(column[0, 0] == 99 for column in tokens):
        raise ValueError("row 99")
