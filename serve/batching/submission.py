"""A request's rows on their way through the scheduler, and the future that brings their answers back."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future, InvalidStateError

from serve.pieces import Output


class Submission:
    """`future` gives an output for each row, in order, or the request's error.

    Final once the future is done: `compute_seconds`, in which at least one of its rows was in a run;
    `queue_seconds`, the rest of its time; `batches`, the runs it had rows in.
    """

    def __init__(self, rows: int, submitted: float) -> None:
        self.rows = rows
        self.future: Future[list[Output]] = Future()
        self.queue_seconds = 0.0
        self.compute_seconds = 0.0
        self.batches = 0
        self._submitted = submitted
        self._answers: dict[int, Output] = {}
        self._running = 0  # rows in a run ...
        self._since = 0.0  # ... and since when there are any
        self._final = False

    def cancel(self) -> bool:
        """Give up: rows that wait leave the queue at once, answers of those in a run are dropped.

        False where the future is done already.
        """
        return self.future.cancel()

    def begin(self, rows: int, now: float) -> None:
        """A batch with some of the rows begins. The scheduler calls this and the next two under its lock."""
        if self._running == 0:
            self._since = now
        self._running += rows
        self.batches += not self._final

    def end(self, rows: int, answers: dict[int, Output], now: float) -> bool:
        """That batch is over: keep its answers by place. True where they were the last, and the times are final."""
        if self._final:
            return False
        self._running -= rows
        if self._running == 0:
            self.compute_seconds += now - self._since
        self._answers.update(answers)
        if len(self._answers) == self.rows:
            self.close(now)
        return self._final

    def close(self, now: float) -> None:
        """Make the times final, whatever still runs."""
        if self._final:
            return
        self._final = True
        if self._running:
            self.compute_seconds += now - self._since
        self.queue_seconds = max(0.0, now - self._submitted - self.compute_seconds)

    def settle(self, error: BaseException | None = None) -> None:
        """Finish the future, with an error or all the answers. Not under a lock: it calls back."""
        try:
            if error is not None:
                self.future.set_exception(error)
            else:
                self.future.set_result([self._answers[place] for place in range(self.rows)])
        except InvalidStateError:  # cancelled, or failed by another batch
            return


async def await_submission(submission: Submission) -> list[Output]:
    """The answers, in asyncio. A task that is cancelled here cancels the submission, which frees its places."""
    return await asyncio.wrap_future(submission.future)
