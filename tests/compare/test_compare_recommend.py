"""What is recommended, and what is said of chance."""

from __future__ import annotations

import statistics
from typing import Any

import pytest
from compare_sample import comparison

from pipeline.compare.gather import numbers
from pipeline.compare.recommend import gap, recommend, shown


def result(name: str, adapter: int, values: list[float], seconds: float = 10.0, **more: Any) -> Any:
    given = {
        "method": name,
        "status": "done",
        "trained": {"adapter": adapter, "head": 5},
        "seeds": list(range(len(values))),
        "validation": {"accuracy": numbers(values)},
        "seconds": seconds,
        "at_edge": False,
    }
    return given | more


def asked(*methods: Any, higher: bool = True, rows: int = 400, tested: bool = True) -> Any:
    return recommend(methods, "accuracy", higher_is_better=higher, rows=rows, tested=tested)


FULL = result("full", 1000, [0.92, 0.93, 0.94])
SVFIT = result("svfit", 10, [0.920, 0.920, 0.935])
HEAD = result("head", 0, [0.80, 0.81, 0.82])


def test_of_those_that_cant_be_told_from_the_best_the_one_that_trains_least_wins() -> None:
    found = asked(FULL, SVFIT, HEAD)
    assert found["method"] == "svfit"
    assert found["equals"] == ["full", "svfit"]
    assert "validation accuracy 0.925 ± 0.009, not to be told from the best, full (0.930 ± 0.010)" in found["text"]
    assert "it trains the least: 10 values besides the head (full: 1,000 values)" in found["text"]
    assert "Clearly behind: head (0.810 ± 0.010)." in found["reasons"]


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
    found = asked(result("full", 1000, [0.93]), result("svfit", 10, [0.91]))
    assert found["method"] == "full"
    assert found["text"].endswith("better than svfit on average, which these trainings can't prove.")
    assert any("One seed tells nothing of chance" in reason for reason in found["reasons"])
    near = asked(result("full", 1000, [0.93]), result("svfit", 10, [0.92]))
    assert near["method"] == "svfit"
    assert "full and svfit can't be told apart: at most 0.01 between the means, seed by seed." in near["reasons"]


def test_noise_makes_nothing_equal_that_is_far_behind() -> None:
    noisy = result("svfit", 10, [0.7, 0.8, 0.9])
    found = asked(result("full", 1000, [0.91, 0.90, 0.89]), noisy)
    assert (found["method"], found["equals"]) == ("full", [])
    assert found["text"] == (
        "Use full: validation accuracy 0.900 ± 0.010, better than svfit on average, which these trainings can't prove."
    )
    assert found["reasons"][0] == (
        "svfit (0.800 ± 0.100) is 0.100 behind full, more than the 0.01 that may count as equal; but these seeds can't "
        "prove the difference, it may be chance. More seeds tell more (--seeds)."
    )


def test_what_seeds_do_to_both_alike_hides_no_difference() -> None:
    low = result("svfit", 10, [0.695, 0.796, 0.894])
    found = asked(result("full", 1000, [0.70, 0.80, 0.90]), low)  # 0.005 behind, each time
    assert found["method"] == "full"
    assert found["text"].endswith("± 0.100, clearly better than svfit.")


def test_a_clear_lead_and_one_that_is_none_are_told_apart() -> None:
    found = asked(FULL, HEAD, result("lora", 100, [0.95, 0.80, 0.92]))
    assert found["text"].endswith(
        "clearly better than head, and better than lora on average, which these trainings can't prove."
    )


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


def test_a_difference_counts_beyond_students_bound_for_pairs() -> None:
    # Gaps of deviation 0.01 at three seeds: t(2) at 97.5% is 4.3027, times 0.01 / √3 is 0.024842.
    def behind(mean: float) -> Any:
        return gap(result("a", 1, [0.9] * 3), result("b", 1, [0.9 - mean + by for by in (-0.01, 0, 0.01)]), "accuracy")

    assert behind(0.02).unseen == pytest.approx(0.024842, abs=1e-6)
    assert not behind(0.0248).sure
    assert behind(0.0249).sure
    assert behind(0.01).equal
    assert not behind(0.0101).equal


def test_only_seeds_that_both_have_are_paired() -> None:
    full, part = result("a", 1, [0.9, 0.8, 0.7]), result("b", 1, [0.79, 0.69], seeds=[1, 2])
    assert gap(full, part, "accuracy").mean == pytest.approx(0.01)
    assert gap(full, part, "accuracy", -1).mean == pytest.approx(-0.01)
    one = gap(full, result("b", 1, [0.69], seeds=[2]), "accuracy")
    assert (one.unseen, one.sure) == (None, False)
    none = gap(full, result("b", 1, [0.7], seeds=[5]), "accuracy")
    assert (none.mean, none.unseen) == (pytest.approx(0.1), None)


def test_a_single_seed_proves_nothing() -> None:
    found = asked(FULL, result("svfit", 10, [0.92]))
    assert found["method"] == "svfit"
    assert "Of svfit one seed alone went through: nothing tells how far chance moves it." in found["reasons"]


def test_what_could_not_have_been_seen_is_said() -> None:
    (said,) = (reason for reason in asked(FULL, SVFIT, HEAD)["reasons"] if "can't be told" in reason)
    assert said.startswith("full and svfit can't be told apart: at most 0.01 between the means, seed by seed, and ")
    assert said.endswith("a difference below 0.012 can go unseen.")  # gaps 0, 0.01, 0.005
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
