"""The scheduler: rows of many requests in shared batches, by worker threads."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from fake_runner import WAIT, Clock, Echo, Gate, answers, bad, items, row
from http_desk import until

from serve.batching.scheduler import Scheduler
from serve.batching.submission import Submission, await_submission
from serve.errors import UsageError
from serve.pieces import Output
from serve.tokenize import Tokens


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.open.set()


def note_end(submission: Submission, length: int, ended: list[int]) -> None:
    submission.future.add_done_callback(lambda _: ended.append(length))


def test_answers_come_in_the_order_of_the_rows_whatever_batches_they_were_in() -> None:
    lengths = [40, 3, 500, 7, 40, 3, 120]
    with Scheduler(Echo(), max_rows=2) as scheduler:
        submission = scheduler.submit(items(*lengths, pin=5))
        assert answers(submission) == [[length, place, 5] for place, length in enumerate(lengths)]
    assert submission.batches >= 4


def test_an_idle_scheduler_runs_a_row_at_once_and_alone() -> None:
    with Scheduler(Echo(), max_delay_ms=60_000) as scheduler:
        for _ in range(20):
            began = time.monotonic()
            assert answers(scheduler.submit(items(9))) == [[9, 0, 0]]
            assert time.monotonic() - began < 1.0


def test_rows_that_wait_for_a_busy_worker_share_a_batch_across_requests(gate: Gate) -> None:
    with Scheduler(gate, workers=1) as scheduler:
        gate.busy(scheduler)
        submissions = [scheduler.submit([(row(5, mark), mark + 1)]) for mark in range(8)]
        gate.open.set()
        assert [answers(each) for each in submissions] == [[[5, mark, mark + 1]] for mark in range(8)]
    assert gate.batches == [[3], [5] * 8]


def test_idle_workers_share_a_request(gate: Gate) -> None:
    with Scheduler(gate, workers=2) as scheduler:
        submission = scheduler.submit(items(*[5] * 10))
        assert all(gate.begun.acquire(timeout=WAIT) for _ in range(2))
        gate.open.set()
        assert len(answers(submission)) == 10
    assert gate.batches == [[5] * 5] * 2
    assert submission.batches == 2


def test_no_batch_is_over_the_limits(gate: Gate) -> None:
    with Scheduler(gate, workers=1, max_rows=8, max_tokens=100) as scheduler:
        gate.busy(scheduler)
        submission = scheduler.submit(items(*[1, 5, 9, 13, 30, 50, 99, 100] * 10))
        gate.open.set()
        submission.future.result(WAIT)
    assert all(len(batch) <= 8 and len(batch) * max(batch) <= 100 for batch in gate.batches)
    assert sum(map(len, gate.batches)) == 81


def test_one_long_text_does_not_make_fifty_short_ones_wait() -> None:
    ended: list[int] = []
    long_began, short_ones_ended = threading.Event(), threading.Event()

    def work(tokens: Sequence[Tokens]) -> None:
        if tokens[0].shape[1] == 512:
            long_began.set()
            assert short_ones_ended.wait(WAIT)

    with Scheduler(Echo(work), workers=2) as scheduler:
        note_end(scheduler.submit(items(512)), 512, ended)
        assert long_began.wait(WAIT)
        for _ in range(50):
            note_end(scheduler.submit(items(4)), 4, ended)
        until(lambda: len(ended) == 50)
        short_ones_ended.set()
        assert scheduler.drain(WAIT)
    assert ended == [4] * 50 + [512]


def test_several_long_texts_leave_a_worker_to_the_short_ones() -> None:
    ended: list[int] = []
    submitted = threading.Event()

    def work(tokens: Sequence[Tokens]) -> None:
        assert submitted.wait(WAIT)
        time.sleep(0.0002 * tokens[0].shape[1])

    with Scheduler(Echo(work), workers=2, max_tokens=512, max_delay_ms=0) as scheduler:
        for length in [512] * 4 + [4] * 50:
            note_end(scheduler.submit(items(length)), length, ended)
        submitted.set()
        assert scheduler.drain(WAIT)
    assert ended.count(512) == 4
    assert ended[-1] == 512
    assert ended.index(4) <= 2  # at most the two that began before any short one came


@pytest.mark.parametrize(("max_delay_ms", "served"), [(5.0, True), (1e6, False)])
def test_a_stream_of_short_rows_starves_a_long_one_only_without_max_delay(max_delay_ms: float, served: bool) -> None:
    began = threading.Event()
    long: list[Submission] = []
    batches = 0

    def stream(tokens: Sequence[Tokens]) -> None:
        """Every run finds another short row in the queue, until the long one has run or 100 runs are over."""
        nonlocal batches
        batches += 1
        began.wait(WAIT)
        time.sleep(0.001)
        if tokens[0].shape[1] == 4 and batches < 100:
            scheduler.submit(items(4))
        if tokens[0].shape[1] == 512:
            before.append(batches)

    before: list[int] = []
    scheduler = Scheduler(Echo(stream), workers=1, max_delay_ms=max_delay_ms)
    with scheduler:
        scheduler.submit(items(4))
        long.append(scheduler.submit(items(512)))
        began.set()
        long[0].future.result(WAIT)
    assert (before[0] < 100) is served


def test_a_row_that_fails_fails_its_own_request_only(gate: Gate) -> None:
    with Scheduler(gate, workers=1) as scheduler:
        gate.busy(scheduler)
        gate.work = bad
        good = [scheduler.submit(items(5, 5)) for _ in range(3)]
        worse = scheduler.submit([(row(5, 1), None), (row(5, 99), None), (row(300, 2), None)])
        gate.open.set()
        for each in good:
            assert answers(each) == [[5, 0, 0], [5, 1, 0]]
            assert each.batches == 2
        with pytest.raises(ValueError, match="row 99"):
            worse.future.result(WAIT)
        assert answers(scheduler.submit(items(5))) == [[5, 0, 0]]
    assert [300] not in gate.batches  # the rest of a request that failed is not run


def test_a_request_that_was_cancelled_gets_no_second_run(gate: Gate) -> None:
    with Scheduler(gate, workers=1) as scheduler:
        gate.busy(scheduler)

        def hang_up_and_fail(tokens: Sequence[Tokens]) -> None:
            gone.cancel()
            bad(tokens)

        gate.work = hang_up_and_fail
        gone, worse = scheduler.submit(items(5)), scheduler.submit([(row(6, 99), None)])
        gate.open.set()
        with pytest.raises(ValueError, match="row 99"):
            worse.future.result(WAIT)
    assert gate.batches == [[3], [5, 6], [6]]


def test_a_failure_that_does_not_return_fails_nobody(gate: Gate) -> None:
    failures = iter([MemoryError()])

    def once(tokens: Sequence[Tokens]) -> None:
        for error in failures:
            raise error

    with Scheduler(gate, workers=1) as scheduler:
        gate.busy(scheduler)
        gate.work = once
        submissions = [scheduler.submit(items(5)) for _ in range(3)]
        gate.open.set()
        assert [answers(each) for each in submissions] == [[[5, 0, 0]]] * 3


def test_a_runner_that_forgets_a_row_is_an_error() -> None:
    class Forgetful(Echo):
        def run(self, tokens: Sequence[Tokens], pins: Sequence[Any], /) -> list[Output]:
            return super().run(tokens, pins)[:-1]

    with Scheduler(Forgetful()) as scheduler, pytest.raises(RuntimeError, match="0 answers for 1 rows"):
        scheduler.submit(items(5)).future.result(WAIT)


def test_times_and_batches_are_told_request_by_request_and_batch_by_batch(gate: Gate) -> None:
    clock, told = Clock(), []
    with Scheduler(gate, workers=1, clock=clock, on_batch=lambda *batch: told.append(batch)) as scheduler:
        first = gate.busy(scheduler)
        second = scheduler.submit(items(10, 11))
        clock.now += 2.0
        gate.work = lambda _: setattr(clock, "now", clock.now + 0.5)
        gate.open.set()
        second.future.result(WAIT)
    assert told == [(1, 3, 2.0, [0.0]), (2, 21, 0.5, [2.0, 2.0])]
    assert (first.queue_seconds, first.compute_seconds, first.batches) == (0.0, 2.0, 1)
    assert (second.queue_seconds, second.compute_seconds, second.batches) == (2.0, 0.5, 1)


def test_batches_at_the_same_time_count_once_in_a_request_s_compute_time() -> None:
    clock = Clock()
    ends = {5: threading.Event(), 300: threading.Event()}
    begun = threading.Semaphore(0)

    def work(tokens: Sequence[Tokens]) -> None:
        begun.release()
        assert ends[tokens[0].shape[1]].wait(WAIT)

    told = threading.Event()
    with Scheduler(Echo(work), workers=2, clock=clock, on_batch=lambda *_: told.set()) as scheduler:
        submission = scheduler.submit(items(5, 300))
        assert all(begun.acquire(timeout=WAIT) for _ in range(2))
        clock.now += 1.0
        ends[5].set()
        assert told.wait(WAIT)
        clock.now += 1.0
        ends[300].set()
        submission.future.result(WAIT)
    assert (submission.compute_seconds, submission.queue_seconds, submission.batches) == (2.0, 0.0, 2)


def test_a_hook_that_fails_is_logged_and_hurts_nobody(caplog: pytest.LogCaptureFixture) -> None:
    def hook(*batch: Any) -> None:
        raise KeyError("metrics")

    with Scheduler(Echo(), on_batch=hook) as scheduler:
        assert answers(scheduler.submit(items(5))) == [[5, 0, 0]]
    assert "hook for batches" in caplog.text


def test_an_idle_scheduler_holds_on_to_no_adapter() -> None:
    class Pin:
        def __float__(self) -> float:
            return 4.0

    pin = Pin()
    gone = weakref.ref(pin)
    with Scheduler(Echo()) as scheduler:
        assert answers(scheduler.submit(items(5, pin=pin), deadline=time.monotonic() + 60)) == [[5, 0, 4]]
        del pin
        until(lambda: gone() is None)


def test_asyncio_gets_answers_and_errors() -> None:
    async def ask(scheduler: Scheduler) -> list[list[Output]]:
        return await asyncio.gather(*(await_submission(scheduler.submit(items(size))) for size in range(1, 40)))

    with Scheduler(Echo(bad)) as scheduler:
        assert [rows[0][0] for rows in asyncio.run(ask(scheduler))] == list(range(1, 40))
        with pytest.raises(ValueError, match="row 99"):
            asyncio.run(await_submission(scheduler.submit([(row(5, 99), None)])))


def test_many_threads_that_submit_and_cancel_get_their_own_answers() -> None:
    def client(seed: int) -> int:
        draw, wrong = np.random.default_rng(seed), 0
        for _ in range(50):
            lengths = draw.integers(1, 200, size=draw.integers(1, 6)).tolist()
            submission = scheduler.submit(items(*lengths, pin=seed + 1))
            if draw.random() < 0.2:
                submission.cancel()
            else:
                wrong += answers(submission) != [[size, at, seed + 1] for at, size in enumerate(lengths)]
        return wrong

    with (
        Scheduler(Echo(), workers=4, max_rows=8, max_tokens=512) as scheduler,
        concurrent.futures.ThreadPoolExecutor(8) as pool,
    ):
        assert sum(pool.map(client, range(8))) == 0
        assert scheduler.drain(WAIT)
        assert scheduler.waiting == 0


@pytest.mark.parametrize("given", [{"workers": 0}, {"queue_rows": 0}, {"max_rows": 0}, {"max_delay_ms": -1.0}])
def test_settings_without_sense_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="must be"):
        Scheduler(Echo(), **given)
