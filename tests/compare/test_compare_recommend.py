"""What is recommended, and what is said of chance."""

from __future__ import annotations

import statistics
from typing import Any

import pytest
from compare_sample import comparison

from pipeline.compare.gather import numbers
from pipeline.compare.recommend import differ, recommend, shown


def result(name: str, adapter: int, values: list[float], seconds: float = 10.0, **more: Any) -> Any:
    given = {
        "method": name,
        "status": "done",
        "trained": {"adapter": adapter, "head": 5},
        "validation": {"accuracy": numbers(values)},
        "seconds": seconds,
        "at_edge": False,
    }
    return given | more


def asked(*methods: Any, higher: bool = True, rows: int = 400, tested: bool = True) -> Any:
    return recommend(methods, "accuracy", higher_is_better=higher, rows=rows, tested=tested)


FULL = result("full", 1000, [0.92, 0.93, 0.94])
SVFIT = result("svfit", 10, [0.915, 0.925, 0.935])
HEAD = result("head", 0, [0.80, 0.81, 0.82])


def test_of_those_that_cant_be_told_from_the_best_the_one_that_trains_least_wins() -> None:
    found = asked(FULL, SVFIT, HEAD)
    assert found["method"] == "svfit"
    assert found["equals"] == ["full", "svfit"]
    assert "validation accuracy 0.925 ± 0.010, not to be told from the best, full (0.930 ± 0.010)" in found["text"]
    assert "it trains the least: 10 values besides the head (full: 1,000 values)" in found["text"]
    assert "Behind: head (0.810 ± 0.010)." in found["reasons"]


def test_a_clear_winner_wins_whatever_it_trains() -> None:
    found = asked(FULL, HEAD)
    assert found["method"] == "full"
    assert found["text"] == "Use full: validation accuracy 0.930 ± 0.010, clearly better than head."
    assert found["equals"] == []


def test_head_alone_is_recommended_where_it_reaches_as_much() -> None:
    found = asked(FULL, result("head", 0, [0.92, 0.93, 0.935]))
    assert found["method"] == "head"
    assert "it trains the least: the head alone (full: 1,000 values)" in found["text"]


def test_as_many_values_are_settled_by_time() -> None:
    found = asked(result("a", 10, [0.9, 0.92], 20.0), result("b", 10, [0.9, 0.91], 5.0))
    assert found["method"] == "b"
    assert "takes the least time" in found["text"]


def test_with_one_seed_nothing_is_said_of_chance_but_that() -> None:
    found = asked(result("full", 1000, [0.93]), result("svfit", 10, [0.92]))
    assert found["method"] == "full"
    assert "clearly" not in found["text"]
    assert any("One seed tells nothing of chance" in reason for reason in found["reasons"])


def test_a_low_metric_is_better_where_it_is_a_loss() -> None:
    assert asked(FULL, HEAD, higher=False)["method"] == "head"


def test_what_failed_is_said_and_recommended_by_nobody() -> None:
    broken = {"method": "dense", "status": "failed", "reason": "diverged"}
    found = asked(broken, FULL)
    assert found["method"] == "full"
    assert "nothing else went through" in found["text"]
    assert "dense failed: diverged" in found["reasons"]
    assert asked(broken)["method"] is None


def test_test_rows_are_said_to_have_chosen_nothing() -> None:
    assert "The test rows chose nothing" in asked(FULL)["reasons"][-1]
    assert "There are no test rows" in asked(FULL, tested=False)["reasons"][-1]


def test_validation_rows_set_a_bound_of_their_own() -> None:
    (said,) = (reason for reason in asked(FULL, rows=400)["reasons"] if "400 validation rows" in reason)
    assert "± 0.025" in said  # 1.96 √(0.93 · 0.07 / 400)


def test_a_difference_counts_beyond_students_bound() -> None:
    # Two groups of 3, both with deviation 0.01: t(4) at 97.5% is 2.776, times 0.01 √(2/3) is 0.02267.
    def group(mean: float) -> Any:
        return numbers([mean - 0.01, mean, mean + 0.01])

    assert not differ(group(0.9), group(0.9226))
    assert differ(group(0.9), group(0.9228))
    assert differ(numbers([0.9]), numbers([0.91]))
    assert not differ(numbers([0.9]), numbers([0.9]))


def test_a_single_seed_is_judged_by_the_others_spread() -> None:
    # t(2) at 97.5% is 4.303, times 0.01 √(1/3 + 1) is 0.04968.
    assert not differ(numbers([0.91, 0.92, 0.93]), numbers([0.871]))
    assert differ(numbers([0.91, 0.92, 0.93]), numbers([0.870]))
    found = asked(FULL, result("svfit", 10, [0.92]))
    assert found["method"] == "svfit"
    assert "Of svfit one seed alone went through: how far chance moves it is taken from the others." in found["reasons"]


def test_what_could_not_have_been_seen_is_said() -> None:
    (said,) = (reason for reason in asked(FULL, SVFIT, HEAD)["reasons"] if "can't be told" in reason)
    assert said.startswith("full and svfit can't be told from the best")
    assert said.endswith("a difference below 0.023 can go unseen.")
    assert (
        "full and svfit reach the very same." in asked(result("full", 9, [0.9]), result("svfit", 1, [0.9]))["reasons"]
    )


def test_spread_is_the_samples_deviation_and_none_for_one_seed() -> None:
    assert numbers([1.0, 2.0, 4.0])["spread"] == pytest.approx(statistics.stdev([1, 2, 4]))
    assert numbers([1.0]) == {"mean": 1.0, "spread": None, "values": [1.0]}
    assert shown(numbers([0.5])) == "0.500"


def test_the_made_up_comparison_has_every_key_of_a_real_one() -> None:
    from pipeline.compare.result import Comparison, MethodResult

    sample = comparison()
    assert set(sample) == set(Comparison.__annotations__)
    assert all(set(one) == set(MethodResult.__annotations__) for one in sample["methods"])
