from __future__ import annotations

import dataclasses

import pytest
from tune_stage import made

from serve.errors import UsageError
from serve.settings import Settings
from serve.tune.candidate import Candidate, Measured
from serve.tune.choice import Wishes, best, nearest, preferred

FREE = Wishes()


def one(variant: str, p50: float, peak: float = 100.0, cpu: float = 1.0, accuracy: float | None = 0.9) -> Measured:
    return made(Candidate(variant, Settings(1)), p50, peak, cpu, accuracy)


def test_the_fastest_is_chosen_and_of_those_as_fast_the_smallest_then_the_thriftiest() -> None:
    fast, slow = one("a", 10.0, 200), one("b", 11.0, 100)
    assert best([slow, fast], FREE) is fast
    as_fast = one("c", 10.4, 150)
    assert best([slow, fast, as_fast], FREE) is as_fast
    thrifty = one("d", 10.4, 152, cpu=0.5)
    assert best([slow, fast, as_fast, thrifty], FREE) is thrifty


@pytest.mark.parametrize(
    ("wishes", "wanted"),
    [
        (FREE, "quick"),
        (Wishes(max_mb=150), "small"),
        (Wishes(min_accuracy=0.95), "right"),
        (Wishes(max_ms=20, min_accuracy=0.9), "quick"),
        (Wishes(max_mb=150, min_accuracy=0.9), "small"),
    ],
)
def test_what_misses_a_wish_is_not_chosen(wishes: Wishes, wanted: str) -> None:
    measured = [one("quick", 5, 200), one("small", 8, 140), one("right", 20, 200, accuracy=0.96)]
    chosen = best(measured, wishes)
    assert chosen is not None
    assert chosen.candidate.variant == wanted
    assert wishes.missed(chosen) == []


def test_the_wish_in_ms_is_for_99_of_100_rows() -> None:
    tail = one("a", 10.0)
    assert tail.p50_ms == 10
    assert tail.p99_ms == 12
    assert best([tail], Wishes(max_ms=11)) is None
    assert best([tail], Wishes(max_ms=12)) is tail


def test_where_nothing_keeps_the_wishes_the_nearest_is_the_one_that_misses_least() -> None:
    wishes = Wishes(max_ms=6, max_mb=100)
    quick, between, small = one("quick", 5, 200), one("between", 6, 120), one("small", 20, 90)
    assert best([quick, between, small], wishes) is None
    assert nearest([quick, between, small], wishes) is between
    assert preferred([quick, between, small], wishes) is between
    assert wishes.missed(between) == ["p99 7.20 ms (wished: 6)", "peak 120.0 MB (wished: 100)"]
    assert wishes.missed(one("c", 1, 1, accuracy=0.5)) == []
    assert Wishes(min_accuracy=0.91).missed(quick) == ["accuracy 0.9000 (wished: 0.91)"]
    tagger = dataclasses.replace(quick, metric="entity_f1")
    assert Wishes(min_accuracy=0.91).missed(tagger) == ["entity-f1 0.9000 (wished: 0.91)"]


def test_what_has_a_problem_is_never_taken() -> None:
    wrong = Measured(Candidate("int8", Settings(1)), problem="answers otherwise here")
    slow = one("fp32", 50)
    assert best([wrong, slow], FREE) is slow
    assert best([wrong], FREE) is None
    assert nearest([wrong], FREE) is None


def test_wishes_that_nothing_could_keep_are_refused() -> None:
    for given in ({"max_ms": 0}, {"max_mb": -1}, {"max_ms": float("nan")}, {"min_accuracy": 93}):
        with pytest.raises(UsageError, match="must be"):
            Wishes(**given)


def test_what_is_not_known_can_not_be_wished() -> None:
    with pytest.raises(UsageError, match="tells no accuracy of variant a"):
        best([one("a", 1, accuracy=None)], Wishes(min_accuracy=0.5))
    with pytest.raises(UsageError, match="doesn't tell what a process takes"):
        best([dataclasses.replace(one("a", 1), peak=None)], Wishes(max_mb=5))


def test_two_visits_are_one_measurement() -> None:
    first, second = one("a", 1.0, 100, cpu=1.0), one("a", 3.0, 120, cpu=2.0)
    both = first.joined(second)
    assert both.p50_ms == pytest.approx(np_median(first.single_ms + second.single_ms))
    assert (both.peak_mb, both.cpu_ms) == (120, 1.5)
    failed = Measured(first.candidate, problem="its process was ended by SIGKILL")
    assert first.joined(failed).problem == failed.problem


def np_median(values: tuple[float, ...]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    return (ordered[middle - 1] + ordered[middle]) / 2


def test_a_candidate_is_told_in_words() -> None:
    assert str(Candidate("int8", Settings(1))) == "int8, 1 thread"
    lean = Candidate("fp32", Settings(2)).turned("arena", "spinning")
    assert str(lean) == "fp32, 2 threads, no arena, no spinning"
