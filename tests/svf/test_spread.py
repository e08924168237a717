"""A budget spread over layers and directions, and the directions that hold what was learned."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from export.core import DIAGONAL, Core
from pipeline.svf.spread import holding, spread

CORES = (DIAGONAL, Core("banded", 1), Core("banded", 3), Core("dense"))

gains = st.lists(st.lists(st.floats(0, 1e6), min_size=1, max_size=9), min_size=1, max_size=5).map(
    lambda layers: {f"layer{number}": torch.tensor(values, dtype=torch.float64) for number, values in enumerate(layers)}
)
cores = st.sampled_from(CORES)


@given(gains, cores, st.integers(0, 120))
def test_a_budget_is_never_exceeded_and_no_layer_could_still_grow(
    found: dict[str, torch.Tensor], core: Core, budget: int
) -> None:
    chosen = spread(budget, core, found)
    spent = sum(core.count(len(places)) for places in chosen.values())
    assert spent <= budget
    for name, values in found.items():
        rank = len(chosen.get(name, []))
        assert rank == len(values) or core.count(rank + 1) - core.count(rank) > budget - spent


@given(gains, cores, st.integers(0, 120))
def test_directions_are_increasing_and_the_first_ones_unless_the_core_is_diagonal(
    found: dict[str, torch.Tensor], core: Core, budget: int
) -> None:
    for name, places in spread(budget, core, found).items():
        assert places == sorted(set(places))
        assert places
        assert places[-1] < len(found[name])
        assert core.kind == "diagonal" or places == list(range(len(places)))


@given(gains, st.integers(0, 40))
def test_a_diagonal_core_takes_the_best_anywhere(found: dict[str, torch.Tensor], budget: int) -> None:
    chosen = spread(budget, DIAGONAL, found)
    taken = [float(found[name][place]) for name, places in chosen.items() for place in places]
    every = sorted((float(value) for values in found.values() for value in values), reverse=True)
    assert sorted(taken, reverse=True) == every[:budget]


@settings(max_examples=30)
@given(st.lists(st.lists(st.floats(0, 9), min_size=1, max_size=5), min_size=1, max_size=3), st.integers(1, 40))
def test_a_dense_core_is_within_one_hull_step_of_the_best_split(layers: list[list[float]], budget: int) -> None:
    core = Core("dense")
    found = {f"layer{number}": torch.tensor(values) for number, values in enumerate(layers)}

    def gained(ranks: tuple[int, ...]) -> float:
        return sum(sum(values[:rank]) for values, rank in zip(layers, ranks, strict=True))

    every = itertools.product(*(range(len(values) + 1) for values in layers))
    best = max(gained(ranks) for ranks in every if sum(core.count(rank) for rank in ranks) <= budget)
    chosen = spread(budget, core, found)
    got = gained(tuple(len(chosen.get(name, [])) for name in found))
    most = max(sum(values) for values in layers)
    assert best - most - 1e-6 <= got <= best + 1e-6


def test_a_direction_far_down_draws_the_ranks_before_it_along() -> None:
    found = {"flat": torch.tensor([1.0, 1.0, 1.0, 1.0]), "late": torch.tensor([0.0, 0.0, 50.0, 0.0])}
    assert spread(9, Core("dense"), found) == {"late": [0, 1, 2]}
    assert spread(3, DIAGONAL, found) == {"flat": [0, 1], "late": [2]}


def test_the_fewest_directions_that_hold_a_share_are_kept() -> None:
    learned = {"a": torch.tensor([3.0, 0.0, -4.0]), "b": torch.tensor([0.0, 1.0, 0.1])}
    assert holding(25 / 26.02, DIAGONAL, learned) == {"a": [0, 2]}
    assert holding(26 / 26.02, DIAGONAL, learned) == {"a": [0, 2], "b": [1]}
    assert holding(0.5, DIAGONAL, learned) == {"a": [2]}


def test_what_never_moved_is_not_dropped_where_nothing_did() -> None:
    assert holding(0.5, DIAGONAL, {"a": torch.zeros(2)}) == {"a": [0, 1]}


@given(st.data(), cores, st.floats(0.01, 0.999))
def test_what_is_kept_holds_the_share_and_banded_cores_lose_their_end_only(
    data: st.DataObject, core: Core, share: float
) -> None:
    ranks = data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=3))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    learned = {
        f"layer{number}": torch.randn(core.shape(rank), generator=generator) * core.mask(rank)
        for number, rank in enumerate(ranks)
    }
    kept = holding(share, core, learned)
    squares = {name: core.matrix(value.double()).square() for name, value in learned.items()}
    held = sum(float(squares[name][places][:, places].sum()) for name, places in kept.items())
    assert held >= share * sum(float(square.sum()) for square in squares.values()) * (1 - 1e-12)
    assert core.kind != "banded" or all(places == list(range(len(places))) for places in kept.values())


@pytest.mark.parametrize("core", CORES)
def test_a_budget_of_nothing_chooses_nothing(core: Core) -> None:
    assert spread(0, core, {"a": torch.ones(3)}) == {}
