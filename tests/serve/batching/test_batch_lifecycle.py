"""Requests that leave before they are answered: cancelled, late, refused; and a scheduler that stops."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Iterator

import pytest
from fake_runner import WAIT, Clock, Echo, Gate, answers, items

from serve.batching.scheduler import Scheduler
from serve.batching.submission import await_submission
from serve.errors import BusyError, ClosingError, DeadlineError, TooLarge


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.open.set()


def test_cancelled_rows_free_their_places_and_do_not_run(gate: Gate) -> None:
    with Scheduler(gate, workers=1, queue_rows=4) as scheduler:
        gate.busy(scheduler)
        gone, kept = scheduler.submit(items(50, 60, 70)), scheduler.submit(items(8))
        with pytest.raises(BusyError):
            scheduler.submit(items(9))
        assert gone.cancel()
        assert scheduler.waiting == 1
        scheduler.submit(items(9, 9, 9))
        assert concurrent.futures.wait([gone.future], timeout=WAIT).done == {gone.future}
        gate.open.set()
        assert answers(kept) == [[8, 0, 0]]
    assert not {50, 60, 70} & {length for batch in gate.batches for length in batch}


def test_a_cancelled_run_s_answers_are_dropped_and_the_worker_goes_on(gate: Gate) -> None:
    with Scheduler(gate, workers=1) as scheduler:
        running = gate.busy(scheduler)
        assert running.cancel()
        gate.open.set()
        assert answers(scheduler.submit(items(5))) == [[5, 0, 0]]
        assert running.future.cancelled()


def test_cancelling_what_is_done_changes_nothing() -> None:
    with Scheduler(Echo()) as scheduler:
        submission = scheduler.submit(items(5))
        submission.future.result(WAIT)
        assert not submission.cancel()
        assert answers(submission) == [[5, 0, 0]]


def test_a_request_whose_deadline_comes_before_its_turn_fails_and_does_not_run(gate: Gate) -> None:
    clock = Clock()
    with Scheduler(gate, workers=1, clock=clock) as scheduler:
        gate.busy(scheduler)
        late = scheduler.submit(items(50, 51), deadline=clock.now + 1.0)
        soon = scheduler.submit(items(60), deadline=clock.now + 1.01)
        clock.now += 1.0
        gate.open.set()
        with pytest.raises(DeadlineError, match="2 of its 2 rows"):
            late.future.result(WAIT)
        assert answers(soon) == [[60, 0, 0]]
    assert late.queue_seconds == pytest.approx(1.0)
    assert gate.batches == [[3], [60]]


def test_rows_past_their_deadline_give_way_to_a_new_request(gate: Gate) -> None:
    clock = Clock()
    with Scheduler(gate, workers=1, clock=clock, queue_rows=2) as scheduler:
        gate.busy(scheduler)
        late = scheduler.submit(items(50, 51), deadline=clock.now + 1.0)
        clock.now += 2.0
        fresh = scheduler.submit(items(8, 8))
        with pytest.raises(DeadlineError):
            late.future.result(0)
        assert late.queue_seconds == pytest.approx(2.0)
        gate.open.set()
        assert answers(fresh) == [[8, 0, 0], [8, 1, 0]]


def test_a_deadline_does_not_stop_a_run_that_began_in_time(gate: Gate) -> None:
    clock = Clock()
    with Scheduler(gate, workers=1, clock=clock) as scheduler:
        running = scheduler.submit(items(5), deadline=clock.now + 1.0)
        assert gate.begun.acquire(timeout=WAIT)
        clock.now += 5.0
        gate.open.set()
        assert answers(running) == [[5, 0, 0]]


def test_a_full_queue_is_busy_for_as_long_as_the_measured_rate_needs(gate: Gate) -> None:
    clock = Clock()
    with Scheduler(gate, workers=1, clock=clock, queue_rows=10) as scheduler:
        first = scheduler.submit(items(5, 5))
        assert gate.begun.acquire(timeout=WAIT)
        waiting = scheduler.submit(items(*[5] * 8))
        with pytest.raises(BusyError, match="8 rows wait and 10 may, so 6 more") as unmeasured:
            scheduler.submit(items(*[5] * 6))
        assert unmeasured.value.retry_after == 1.0
        waiting.cancel()
        clock.now += 0.25  # two rows in a quarter of a second: eight a second
        gate.open.set()
        first.future.result(WAIT)
        gate.open.clear()
        gate.busy(scheduler)
        scheduler.submit(items(*[5] * 8))
        with pytest.raises(BusyError) as measured:
            scheduler.submit(items(*[5] * 6))
        assert measured.value.retry_after == pytest.approx(4 / 8.0)
        gate.open.set()


def test_a_request_that_never_fits_is_too_large() -> None:
    with Scheduler(Echo(), max_tokens=64, queue_rows=4) as scheduler:
        with pytest.raises(TooLarge, match="65 tokens; a batch may have 64"):
            scheduler.submit(items(3, 65))
        with pytest.raises(TooLarge, match="5 rows; 4 may wait"):
            scheduler.submit(items(*[3] * 5))
        assert answers(scheduler.submit(items(64))) == [[64, 0, 0]]


def test_no_rows_give_no_answers() -> None:
    with Scheduler(Echo()) as scheduler:
        assert answers(scheduler.submit([])) == []


def test_drain_finishes_what_is_queued_and_takes_nothing_new(gate: Gate) -> None:
    others = set(threading.enumerate())
    scheduler = Scheduler(gate, workers=1)
    gate.busy(scheduler)
    submissions = [scheduler.submit(items(length)) for length in (5, 50, 500)]
    assert not scheduler.drain(0.01)
    assert scheduler.closing
    with pytest.raises(ClosingError):
        scheduler.submit(items(5))
    gate.open.set()
    assert scheduler.drain(WAIT)
    assert [answers(each)[0][0] for each in submissions] == [5, 50, 500]
    assert not any(thread.name.startswith("svfit-worker") for thread in set(threading.enumerate()) - others)


def test_close_fails_what_waits_and_ends_what_runs(gate: Gate) -> None:
    scheduler = Scheduler(gate, workers=1)
    running, waiting = gate.busy(scheduler), scheduler.submit(items(5))
    assert not scheduler.close(0.01)
    with pytest.raises(ClosingError):
        waiting.future.result(0)
    gate.open.set()
    assert answers(running) == [[3, 0, 0]]
    assert scheduler.close(WAIT)
    assert gate.batches == [[3]]


def test_cancelling_a_task_takes_its_rows_out_of_the_queue(gate: Gate) -> None:
    async def hang_up(scheduler: Scheduler) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await await_submission(scheduler.submit(items(50, 51)))

    with Scheduler(gate, workers=1) as scheduler:
        gate.busy(scheduler)
        asyncio.run(hang_up(scheduler))
        assert scheduler.waiting == 0
        gate.open.set()
    assert gate.batches == [[3]]
