"""Rows are counted, and forgotten by half as time passes."""

from __future__ import annotations

import pytest

from serve.promotion.traffic import HALF_LIFE, MOST_NAMES, Decaying, Traffic


def test_a_sum_halves_with_each_half_life() -> None:
    rows = Decaying()
    assert rows.add(100, 5.0) == 100
    assert rows.now(5.0 + HALF_LIFE) == pytest.approx(50)
    assert rows.add(50, 5.0 + HALF_LIFE) == pytest.approx(100)
    assert rows.now(5.0 + 3 * HALF_LIFE) == pytest.approx(25)


def test_a_steady_rate_stands_at_87_seconds_worth() -> None:
    rows = Decaying()
    for second in range(3600):
        rows.add(10, float(second))
    assert rows.now(3599.0) == pytest.approx(870, rel=0.01)


def test_shares_are_of_all_rows_and_do_not_change_as_time_passes() -> None:
    traffic = Traffic()
    assert traffic.share("a", 0.0) == traffic.rows("a", 0.0) == 0
    traffic.add("a", 30, 0.0)
    traffic.add("b", 10, 0.0)
    for now in (0.0, 1000.0):
        assert traffic.share("a", now) == pytest.approx(0.75)
    traffic.rename("a", "c")
    assert (traffic.rows("a", 0.0), traffic.rows("c", 0.0)) == (0, 30)
    traffic.forget("c")
    assert traffic.share("c", 0.0) == 0


def test_names_hardly_asked_for_are_forgotten_when_there_are_many() -> None:
    traffic = Traffic()
    traffic.add("busy", 1000, 0.0)
    for place in range(3 * MOST_NAMES):
        traffic.add(f"rare{place}", 1, place * HALF_LIFE / MOST_NAMES)
    assert len(traffic._names) <= MOST_NAMES + 1
    assert traffic.rows("busy", 3 * HALF_LIFE) == pytest.approx(125)
