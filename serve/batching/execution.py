"""Running one batch: its answers go to their requests, and a row that fails doesn't take its neighbours along."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from serve.batching.queueing import Waiting
from serve.batching.submission import Submission
from serve.pieces import Output, Piece

RATE_SECONDS = 10.0  # the measured rate forgets over this many seconds of running

_LOG = logging.getLogger(__name__)


class Runner(Protocol):
    """What the workers call, several at a time: one batch, an answer for each row, in order."""

    def run(self, pieces: Sequence[Piece], pins: Sequence[Any], /) -> list[Output]: ...


class BatchHook(Protocol):
    """Told of each batch that gave answers, before its requests are: rows, their tokens without padding,
    seconds of the run, and the seconds each row waited."""

    def __call__(self, rows: int, tokens: int, seconds: float, queue_seconds: list[float], /) -> None: ...


@dataclass(slots=True, eq=False, kw_only=True)
class Row(Waiting):
    """A waiting piece with the adapter it is for, and its place in its request."""

    piece: Piece
    pin: Any
    owner: Submission
    place: int


class Execution:
    """What the workers share. `lock` guards the submissions' books and the measured rate."""

    def __init__(
        self, runner: Runner, on_batch: BatchHook | None, clock: Callable[[], float], lock: threading.Lock
    ) -> None:
        self._runner, self._on_batch, self._clock, self._lock = runner, on_batch, clock, lock
        self._rows = self._seconds = 0.0  # decaying sums

    @property
    def rate(self) -> float:
        """Rows a second that a busy worker gets done; 0.0 before the first batch."""
        return self._rows / self._seconds if self._seconds > 0 else 0.0

    def serve(self, rows: Sequence[Row]) -> None:
        """Run a batch. If it fails, each request's rows get one more run without their neighbours."""
        groups: dict[Submission, list[Row]] = {}
        for row in rows:
            groups.setdefault(row.owner, []).append(row)
        error = self._attempt(rows, groups)
        if error is None:
            return
        for owner, own in groups.items():
            if len(groups) > 1:
                error = None if owner.future.done() else self._attempt(own, {owner: own})
            if error is not None:
                with self._lock:
                    owner.close(self._clock())
                owner.settle(error)

    def _attempt(self, rows: Sequence[Row], groups: dict[Submission, list[Row]]) -> BaseException | None:
        """One run, and its answers handed out; or what it raised."""
        began = self._clock()
        with self._lock:
            for owner, own in groups.items():
                owner.begin(len(own), began)
        answers: list[Output] = []
        failure: BaseException | None = None
        try:
            answers = self._runner.run([row.piece for row in rows], [row.pin for row in rows])
            if len(answers) != len(rows):
                raise RuntimeError(f"the runner gave {len(answers)} answers for {len(rows)} rows")
        except BaseException as error:  # also a panic in Rust: a worker outlives whatever a batch raises
            answers, failure = [], error
        ended = self._clock()
        given: dict[Submission, dict[int, Output]] = {owner: {} for owner in groups}
        for row, answer in zip(rows, answers, strict=failure is None):
            given[row.owner][row.place] = answer
        with self._lock:
            done = [owner for owner, own in groups.items() if owner.end(len(own), given[owner], ended)]
            if failure is None:
                self._measure(len(rows), ended - began)
        if failure is None:
            self._tell_hook(rows, began, ended)
        for owner in done:
            owner.settle()
        return failure

    def _measure(self, rows: int, seconds: float) -> None:
        kept = math.exp(-seconds / RATE_SECONDS)
        self._rows = self._rows * kept + rows
        self._seconds = self._seconds * kept + seconds

    def _tell_hook(self, rows: Sequence[Row], began: float, ended: float) -> None:
        if self._on_batch is None:
            return
        waits = [began - row.arrived for row in rows]
        try:
            self._on_batch(len(rows), sum(row.length for row in rows), ended - began, waits)
        except Exception:  # metrics are no reason to fail a request
            _LOG.exception("the hook for batches failed")
