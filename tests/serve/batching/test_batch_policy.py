"""Which waiting rows form the next batch."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.batching.queueing import BatchLimits, RowQueue, Waiting, alike, slack
from serve.errors import UsageError

LIMITS = st.builds(
    BatchLimits,
    max_rows=st.integers(1, 40),
    max_tokens=st.integers(600, 4096),
    max_delay=st.sampled_from([0.0, 0.02, 1.0]),
)
LENGTHS = st.lists(st.integers(1, 600) | st.integers(1, 30), min_size=1, max_size=120)


def filled(limits: BatchLimits, *lengths: int) -> RowQueue[Waiting]:
    """Row i arrives at i milliseconds."""
    queue: RowQueue[Waiting] = RowQueue(limits)
    for at, length in enumerate(lengths):
        queue.add(Waiting(length, at / 1000))
    return queue


def lengths(rows: list[Waiting]) -> list[int]:
    return sorted(row.length for row in rows)


@given(LIMITS, LENGTHS, st.lists(st.integers(1, 600), max_size=3), st.floats(0.0, 2.0), st.integers(1, 4))
def test_every_row_is_served_once_within_the_limits_and_in_order(
    limits: BatchLimits, sizes: list[int], running: list[int], now: float, free: int
) -> None:
    queue = filled(limits, *sizes)
    served: list[Waiting] = []
    while len(queue):
        before = len(queue)
        rows = queue.take(now, running, free)
        longest = max(row.length for row in rows)
        assert 1 <= len(rows) <= limits.max_rows
        assert len(rows) * longest <= limits.max_tokens
        assert longest - min(row.length for row in rows) <= slack(longest)
        assert len(queue) == before - len(rows)
        served += rows
    assert lengths(served) == sorted(sizes)
    for length in set(sizes):
        arrivals = [row.arrived for row in served if row.length == length]
        assert arrivals == sorted(arrivals)
    assert queue.take(now) == []


@given(LIMITS, LENGTHS)
def test_padding_is_at_most_an_eighth_of_a_long_batch_and_four_tokens_a_short_row(
    limits: BatchLimits, sizes: list[int]
) -> None:
    queue = filled(limits, *sizes)
    while rows := queue.take(0.0):
        longest = max(row.length for row in rows)
        padding = sum(longest - row.length for row in rows)
        assert padding <= max(longest * len(rows) / 8, 4 * len(rows))


@given(LIMITS, LENGTHS)
def test_the_oldest_row_is_in_the_batch_once_it_is_overdue(limits: BatchLimits, sizes: list[int]) -> None:
    queue = filled(limits, *sizes)
    left = [at / 1000 for at in range(len(sizes))]
    while left:
        taken = {row.arrived for row in queue.take(10.0)}
        assert left[0] in taken
        left = [arrived for arrived in left if arrived not in taken]


@given(LENGTHS, st.data())
def test_rows_that_were_removed_or_expired_are_not_served(sizes: list[int], data: st.DataObject) -> None:
    queue: RowQueue[Waiting] = RowQueue(BatchLimits())
    rows = [Waiting(size, 0.0, data.draw(st.sampled_from([1.0, 2.0, math.inf]), label="deadline")) for size in sizes]
    for row in rows:
        queue.add(row)
    gone = data.draw(st.sets(st.sampled_from(rows)), label="removed")
    assert all(queue.remove(row) for row in gone)
    assert not any(queue.remove(row) for row in gone)
    late = queue.expired(1.5)
    assert set(late) == {row for row in rows if row.deadline == 1.0 and row not in gone}
    served: set[Waiting] = set()
    while batch := queue.take(1.5):
        served.update(batch)
    assert served == set(rows) - gone - set(late)
    assert queue.expired(3.0) == []  # those that were served are no longer anybody's loss


def test_the_shortest_go_first() -> None:
    queue = filled(BatchLimits(), 300, 12, 100, 10, 11)
    assert lengths(queue.take(0.01)) == [10, 11, 12]
    assert lengths(queue.take(0.01)) == [100]
    assert lengths(queue.take(0.01)) == [300]


def test_a_row_that_waited_max_delay_goes_before_shorter_ones() -> None:
    queue = filled(BatchLimits(max_delay=0.02), 300, 10, 10)
    assert lengths(queue.take(0.0201)) == [300]


def test_an_overdue_row_takes_its_like_from_both_sides_nearest_first() -> None:
    queue = filled(BatchLimits(max_rows=4, max_delay=0.0), 100, 93, 80, 99, 101, 104, 126)
    assert lengths(queue.take(1.0)) == [99, 100, 101, 104]


def test_the_like_are_alike_to_each_other_not_only_to_the_row_that_leads() -> None:
    queue = filled(BatchLimits(max_delay=0.0), 100, 90, 110)
    assert lengths(queue.take(1.0)) == [90, 100]
    assert lengths(queue.take(1.0)) == [110]


def test_free_workers_share_what_waits() -> None:
    queue = filled(BatchLimits(), *[10] * 15)
    assert [len(queue.take(0.0, [], free)) for free in (2, 1)] == [8, 7]
    assert len(filled(BatchLimits(), 10).take(0.0, [], 4)) == 1


def test_equal_rows_fill_a_batch_to_its_limit() -> None:
    assert len(filled(BatchLimits(max_rows=32, max_tokens=4096), *[20] * 50).take(0.0)) == 32
    assert len(filled(BatchLimits(max_rows=32, max_tokens=4096), *[512] * 50).take(0.0)) == 8


def test_a_long_row_leaves_short_ones_a_worker_while_another_long_one_runs() -> None:
    queue = filled(BatchLimits(), 400, 10, 10)
    assert lengths(queue.take(9.0, [512])) == [10, 10]
    assert lengths(queue.take(9.0, [512])) == [400]  # nothing shorter waits


def test_a_long_row_does_not_give_way_to_rows_nearly_as_long_or_while_only_short_ones_run() -> None:
    assert lengths(filled(BatchLimits(), 400, 120).take(9.0, [512])) == [400]
    assert lengths(filled(BatchLimits(), 400, 10).take(9.0, [40, 10])) == [400]


def test_deadlines_of_rows_long_gone_are_forgotten() -> None:
    queue: RowQueue[Waiting] = RowQueue(BatchLimits())
    for at in range(1000):
        queue.add(Waiting(5, float(at), at + 1e6))
        queue.take(float(at))
    assert len(queue._deadlines) <= 66


@pytest.mark.parametrize(
    ("given", "named"),
    [({"max_rows": 0}, "max_rows"), ({"max_tokens": 0}, "max_tokens"), ({"max_delay": -1.0}, "max_delay")]
    + [({"max_delay": bad}, "max_delay") for bad in (math.nan, math.inf)],
)
def test_limits_without_sense_are_refused_by_name(given: dict[str, float], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        BatchLimits(**given)  # type: ignore[arg-type]


@given(lengths=st.lists(st.integers(1, 200), max_size=60), most=st.integers(1, 20))
def test_rows_of_a_call_are_batched_once_each_and_alike_in_length(lengths: list[int], most: int) -> None:
    batches = alike(lengths, most)
    assert sorted(place for batch in batches for place in batch) == list(range(len(lengths)))
    for batch in batches:
        sizes = [lengths[place] for place in batch]
        assert len(batch) <= most
        assert max(sizes) - min(sizes) <= slack(max(sizes))
