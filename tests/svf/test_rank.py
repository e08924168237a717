"""Rank rules: numbers, shares of the energy, patterns."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.svf.rank import choose_rank, effective_rank, energy_share
from serve.errors import UsageError

spectra = st.lists(st.floats(0, 1e4, width=32), min_size=1, max_size=20).map(
    lambda values: torch.tensor(sorted(values, reverse=True), dtype=torch.float32)
)


@given(spectra, st.floats(0.001, 0.999))
def test_a_share_takes_the_fewest_directions_that_reach_it(S: torch.Tensor, share: float) -> None:
    rank = choose_rank(share, "layer", S)
    assert 1 <= rank <= len(S)
    energies = [float(value) ** 2 for value in S]
    total = math.fsum(energies)
    close = 1e-12 * total  # float64 sums in another order differ by some 1e-16 a term
    assert math.fsum(energies[:rank]) >= share * total - close
    assert rank == 1 or math.fsum(energies[: rank - 1]) <= share * total + close


@pytest.mark.parametrize(
    ("share", "rank"),
    [(0.5, 1), (0.64, 1), (0.65, 2), (0.999, 2)],  # 4² of 4² + 3² is 0.64 exactly
)
def test_a_share_that_is_reached_exactly_needs_no_more(share: float, rank: int) -> None:
    assert choose_rank(share, "layer", torch.tensor([4.0, 3.0, 0.0])) == rank


def test_an_all_zero_weight_keeps_one_direction() -> None:
    assert choose_rank(0.9, "layer", torch.zeros(4)) == 1


@given(spectra, st.integers(1, 100))
def test_a_number_is_capped_at_what_the_weight_has(S: torch.Tensor, rank: int) -> None:
    assert choose_rank(rank, "layer", S) == min(rank, len(S))


def test_full_takes_them_all() -> None:
    assert choose_rank("full", "layer", torch.ones(7)) == 7


@pytest.mark.parametrize("rule", [0, -1, 0.0, 1.0, 1.5, -0.5, float("nan"), "half", "", True, False])
def test_anything_else_is_refused_in_one_line(rule: Any) -> None:
    with pytest.raises(UsageError, match=r"^adapter\.rank: .*$"):
        choose_rank(rule, "layer", torch.ones(4))


def test_the_first_pattern_found_in_the_name_decides() -> None:
    rules: dict[str, int | float | str] = {r"layer\.0\.": 2, "query|key": 3, ".*": "full"}
    S = torch.ones(8)
    assert choose_rank(rules, "encoder.layer.0.query", S) == 2
    assert choose_rank(rules, "encoder.layer.1.query", S) == 3
    assert choose_rank(rules, "encoder.layer.1.output", S) == 8


def test_a_layer_that_no_pattern_names_is_refused_with_the_patterns() -> None:
    with pytest.raises(UsageError, match=r"no pattern matches layer output; patterns: query, key; add one"):
        choose_rank({"query": 2, "key": 3}, "output", torch.ones(4))


def test_a_pattern_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match=r"adapter\.rank: '\(query' is no pattern"):
        choose_rank({"(query": 2}, "query", torch.ones(4))


@given(spectra)
def test_the_energy_share_grows_to_one(S: torch.Tensor) -> None:
    shares = [energy_share(S, rank) for rank in range(1, len(S) + 1)]
    assert all(low <= high * (1 + 1e-12) for low, high in itertools.pairwise(shares)), "float64 sums round"
    assert shares[-1] == pytest.approx(1.0)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_equal_values_have_an_effective_rank_of_their_number(count: int) -> None:
    S = torch.cat([torch.full((count,), 3.0), torch.zeros(4)])
    assert effective_rank(S) == pytest.approx(count)


@given(spectra)
def test_the_effective_rank_lies_between_nothing_and_the_rank(S: torch.Tensor) -> None:
    assert 0.0 <= effective_rank(S) <= int((S > 0).sum()) * (1 + 1e-9)
    assert (effective_rank(S) == 0.0) == (float(S.sum()) == 0.0)
