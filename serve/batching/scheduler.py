"""Dynamic batching: rows of many requests, each with its own adapter, share the runs of a few worker threads."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

from serve.batching.execution import BatchHook, Execution, Row, Runner
from serve.batching.queueing import BatchLimits, RowQueue
from serve.batching.submission import Submission
from serve.errors import BusyError, ClosingError, DeadlineError, TooLarge, UsageError
from serve.pieces import Piece, length

FIRST_RETRY = 1.0  # seconds, told while nothing has been measured


class Scheduler:
    """A queue of rows and the threads that run them in batches; a context manager.

    A row that finds a worker idle starts at once. While all are busy rows wait, and `RowQueue` says which go next.
    """

    def __init__(
        self,
        runner: Runner,
        *,
        max_rows: int = 32,
        max_tokens: int = 4096,
        max_delay_ms: float = 20.0,
        queue_rows: int = 2048,
        workers: int = 2,
        clock: Callable[[], float] = time.monotonic,
        on_batch: BatchHook | None = None,
    ) -> None:
        """Start the workers. A batch has at most `max_rows` rows and `max_tokens` tokens, padding counted; after
        `max_delay_ms` a row no longer waits for shorter ones; `queue_rows` may wait. Raises UsageError."""
        for name, value in (("queue_rows", queue_rows), ("workers", workers)):
            if value < 1:
                raise UsageError(f"{name} must be at least 1 (got {value})")
        lock = threading.Lock()
        self._execution = Execution(runner, on_batch, clock, lock)
        self._changed = threading.Condition(lock)
        self._clock, self._queue_rows = clock, queue_rows
        self._queue: RowQueue[Row] = RowQueue(BatchLimits(max_rows, max_tokens, max_delay_ms / 1000))
        self._running: list[int] = []  # the longest length of each batch in a run
        self._closing = False
        self._threads = [
            threading.Thread(target=self._work, name=f"svfit-worker-{at}", daemon=True) for at in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def waiting(self) -> int:
        """Rows in the queue, those in a run not counted."""
        return len(self._queue)

    @property
    def closing(self) -> bool:
        """Whether new work is refused."""
        return self._closing

    @property
    def rate(self) -> float:
        """Rows a second that all workers get done together while they are busy; 0.0 before the first batch."""
        return self._execution.rate * len(self._threads)

    def submit(self, items: Sequence[tuple[Piece, Any]], deadline: float | None = None) -> Submission:
        """Queue a request's rows, each a piece with its pin; `deadline` is a time on the clock.

        The future fails with DeadlineError where the deadline comes before the last row has started (told when a
        worker or a request next looks at the queue), with ClosingError after `close`, and with what `run` raised.
        Raises BusyError for a full queue, TooLarge for what never fits, ClosingError while closing.
        """
        limits = self._queue.limits
        longest = max((length(piece) for piece, _ in items), default=0)
        if longest > limits.max_tokens:
            raise TooLarge(f"a row has {longest} tokens; a batch may have {limits.max_tokens}; try a shorter text")
        if len(items) > self._queue_rows:
            raise TooLarge(f"the request has {len(items)} rows; {self._queue_rows} may wait; try several requests")
        with self._changed:
            now = self._clock()
            if self._closing:
                raise ClosingError("the server is stopping and takes no new requests; try another one")
            late = self._queue.expired(now)
            _close(late, now)
            lacking = len(self._queue) + len(items) - self._queue_rows
            submission = Submission(len(items), now)
            if lacking <= 0 and items:
                self._enqueue(submission, items, now, math.inf if deadline is None else deadline)
                self._changed.notify()
        _tell_late(late)
        if lacking > 0:
            rate = self.rate
            seconds = lacking / rate if rate > 0 else FIRST_RETRY
            raise BusyError(
                f"{self._queue_rows - len(items) + lacking} rows wait and {self._queue_rows} may, so {len(items)} more "
                f"find no place; try again in {seconds:.2g} s",
                seconds,
            )
        if not items:
            submission.settle()
        return submission

    def drain(self, timeout: float | None = None) -> bool:
        """Refuse new work, finish what is queued, stop the workers.

        False where that took longer than `timeout` seconds: the workers go on then, and `close` ends it.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        end = None if timeout is None else time.monotonic() + timeout
        for thread in self._threads:
            thread.join(None if end is None else max(0.0, end - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def close(self, timeout: float | None = None) -> bool:
        """Refuse new work, fail what is queued with ClosingError, wait for the runs under way, stop the workers.

        False where a run took longer than `timeout` seconds more.
        """
        with self._changed:
            self._closing = True
            rows = self._queue.clear()
            _close(rows, self._clock())
        for owner in dict.fromkeys(row.owner for row in rows):
            owner.settle(ClosingError("the server stopped before it was this request's turn; try another one"))
        return self.drain(timeout)

    def _enqueue(self, submission: Submission, items: Sequence[tuple[Piece, Any]], now: float, deadline: float) -> None:
        rows = [
            Row(length(piece), now, deadline, piece=piece, pin=pin, owner=submission, place=place)
            for place, (piece, pin) in enumerate(items)
        ]
        for row in rows:
            self._queue.add(row)

        def finished(future: Any) -> None:  # holds no reference to the submission, which would be a cycle
            if future.cancelled() or future.exception() is not None:
                with self._changed:
                    for row in rows:
                        self._queue.remove(row)
            if future.cancelled():
                future.set_running_or_notify_cancel()  # wakes concurrent.futures.wait
            rows.clear()

        submission.future.add_done_callback(finished)

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._queue and not self._closing:
                    self._changed.wait()
                if not self._queue:
                    return
                now = self._clock()
                late = self._queue.expired(now)
                _close(late, now)
                rows = self._queue.take(now, self._running, len(self._threads) - len(self._running))
                longest = max((row.length for row in rows), default=0)
                self._running.append(longest)
                if self._queue:
                    self._changed.notify()  # the next batch is the next idle worker's
            _tell_late(late)
            del late
            if rows:
                self._execution.serve(rows)
            del rows  # an idle worker holds on to nobody's adapter
            with self._changed:
                self._running.remove(longest)


def _close(rows: Sequence[Row], now: float) -> None:
    for row in rows:
        row.owner.close(now)


def _tell_late(rows: Sequence[Row]) -> None:
    """Fail the requests of rows that left the queue at their deadline."""
    for owner, late in Counter(row.owner for row in rows).items():
        seconds = owner.queue_seconds + owner.compute_seconds
        message = f"the request's time was over after {seconds:.3g} s, with {late} of its {owner.rows} rows not begun"
        owner.settle(DeadlineError(f"{message}; try a later deadline or fewer rows"))
