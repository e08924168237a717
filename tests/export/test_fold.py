"""The fold as algebra: linear in the values, exact in the directions, refused where it has no meaning."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from export.basis import Factors
from export.core import Core
from export.fold import fold_weight, weight_change
from serve.errors import InputError


def made(out: int, inp: int, rank: int, seed: int) -> tuple[torch.Tensor, Factors, torch.Tensor]:
    """A weight, its top triplets and a delta."""
    torch.manual_seed(seed)
    W = torch.randn(out, inp)
    U, S, Vh = torch.linalg.svd(W.double(), full_matrices=False)
    return W, Factors(U.float(), S.float(), Vh.float()).top(rank), torch.randn(rank)


@st.composite
def cases(draw: st.DrawFn) -> tuple[torch.Tensor, Factors, torch.Tensor]:
    out, inp = draw(st.integers(1, 10)), draw(st.integers(1, 10))
    return made(out, inp, draw(st.integers(1, min(out, inp))), draw(st.integers(0, 999)))


@st.composite
def cored(draw: st.DrawFn) -> tuple[torch.Tensor, Factors, torch.Tensor, Core]:
    """A weight, some of its triplets, values of a core, and the core."""
    W, factors, _ = draw(cases())
    kind = draw(st.sampled_from(["diagonal", "banded", "dense"]))
    core = Core(kind, draw(st.integers(1, 4)) if kind == "banded" else 0)
    places = draw(st.sets(st.integers(0, factors.rank - 1), min_size=1))
    factors = factors.take(sorted(places))
    return W, factors, torch.randn(core.shape(factors.rank)) * core.mask(factors.rank), core


Cored = tuple[torch.Tensor, Factors, torch.Tensor, Core]


def by_hand(factors: Factors, values: torch.Tensor, core: Core) -> torch.Tensor:
    """`U C Vh` in float64, triplet by triplet."""
    U, Vh, rank = factors.U.double(), factors.Vh.double(), factors.rank
    change = torch.zeros(U.shape[0], Vh.shape[1], dtype=torch.float64)
    for i in range(rank):
        for j in range(rank):
            if core.kind == "dense":
                change += values[i, j].double() * torch.outer(U[:, i], Vh[j])
            elif core.kind == "banded" and abs(j - i) <= core.bands:
                change += values[j - i + core.bands, i].double() * torch.outer(U[:, i], Vh[j])
            elif core.kind == "diagonal" and i == j:
                change += values[i].double() * torch.outer(U[:, i], Vh[i])
    return change


@settings(max_examples=80, deadline=None)
@given(cored())
def test_every_core_s_change_is_the_sum_over_its_places(case: Cored) -> None:
    W, factors, values, core = case
    change = weight_change(factors, values, core)
    assert change.dtype == torch.float64
    torch.testing.assert_close(change, by_hand(factors, values, core), rtol=1e-13, atol=1e-13)
    assert torch.equal(fold_weight(W, factors, values, core), (W.double() + change).float())


@settings(max_examples=50, deadline=None)
@given(cored())
def test_every_core_folds_twice_into_twice_the_change(case: Cored) -> None:
    W, factors, values, core = case
    twice = fold_weight(fold_weight(W, factors, values, core), factors, values, core)
    torch.testing.assert_close(twice, fold_weight(W, factors, 2 * values, core), rtol=0, atol=4e-6)  # one more rounding


@settings(max_examples=50, deadline=None)
@given(cored())
def test_every_core_s_zeros_change_no_bit(case: Cored) -> None:
    W, factors, values, core = case
    folded = fold_weight(W, factors, torch.zeros_like(values), core)
    assert torch.equal(folded.view(torch.int32), W.view(torch.int32))


def test_a_diagonal_change_is_what_it_was_before_there_were_cores() -> None:
    _, factors, delta = made(40, 30, 20, 0)
    before = (factors.U.double() * delta.double()) @ factors.Vh.double()
    assert torch.equal(weight_change(factors, delta), before)


@pytest.mark.parametrize("core", [Core("banded", 1), Core("dense")], ids=str)
def test_values_of_another_core_are_refused(core: Core) -> None:
    W, factors, delta = made(6, 5, 4, 0)
    with pytest.raises(InputError, match=f"the values of a {core.kind} core have"):
        fold_weight(W, factors, delta, core)
    values = torch.randn(core.shape(4))
    values[1, 1] = float("nan")
    with pytest.raises(InputError, match="delta holds NaN or infinity"):
        fold_weight(W, factors, values, core)


CLOSE = 1e-5
"""The factors are float32 (6e-8 a number), and a product sums up to 10 triplets of size up to 10."""


@settings(max_examples=50, deadline=None)
@given(cases())
def test_the_folded_weight_s_singular_values_are_the_moved_ones(
    case: tuple[torch.Tensor, Factors, torch.Tensor],
) -> None:
    W, factors, delta = case
    folded = fold_weight(W, factors, delta).double()
    along = factors.U.double().T @ folded @ factors.Vh.double().T
    torch.testing.assert_close(along, torch.diag(factors.S + delta).double(), rtol=0, atol=CLOSE)


@settings(max_examples=50, deadline=None)
@given(cases(), st.floats(-3, 3))
def test_the_change_is_linear_in_delta(case: tuple[torch.Tensor, Factors, torch.Tensor], by: float) -> None:
    _, factors, delta = case
    other = delta.flip(0).double() * by
    together = weight_change(factors, delta.double() + other)
    torch.testing.assert_close(
        together, weight_change(factors, delta) + weight_change(factors, other), rtol=1e-12, atol=1e-12
    )  # float64 throughout


@settings(max_examples=50, deadline=None)
@given(cases())
def test_folding_there_and_back_ends_where_it_began_to_rounding(
    case: tuple[torch.Tensor, Factors, torch.Tensor],
) -> None:
    W, factors, delta = case
    back = fold_weight(fold_weight(W, factors, delta), factors, -delta)
    torch.testing.assert_close(back, W, rtol=0, atol=1e-6)  # two roundings of numbers up to 8


@settings(max_examples=50, deadline=None)
@given(cases())
def test_a_zero_delta_changes_no_bit(case: tuple[torch.Tensor, Factors, torch.Tensor]) -> None:
    W, factors, delta = case
    assert torch.equal(fold_weight(W, factors, torch.zeros_like(delta)), W)


@settings(max_examples=50, deadline=None)
@given(cases())
def test_directions_that_did_not_move_can_be_left_out(case: tuple[torch.Tensor, Factors, torch.Tensor]) -> None:
    W, factors, delta = case
    kept = max(1, factors.rank - 2)
    delta[kept:] = 0
    whole, short = fold_weight(W, factors, delta), fold_weight(W, factors.top(kept), delta[:kept])
    torch.testing.assert_close(short, whole, rtol=0, atol=1e-6)  # the sums may be taken in another order


def test_the_weight_given_is_not_changed() -> None:
    W, factors, delta = made(6, 5, 4, 0)
    before = W.clone()
    fold_weight(W, factors, delta)
    assert torch.equal(W, before)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_half_precision_weight_folds_in_float32(dtype: torch.dtype) -> None:
    W, factors, delta = made(6, 5, 4, 0)
    half = W.to(dtype)
    small = delta * 1e-6
    folded = fold_weight(half, factors, small)
    assert folded.dtype == torch.float32
    assert not torch.equal(folded, half.float()), "a change below the weight's own precision is kept"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_none_are_refused(value: float) -> None:
    W, factors, delta = made(6, 5, 4, 0)
    delta[1] = value
    with pytest.raises(InputError, match="delta holds NaN or infinity: the training diverged"):
        fold_weight(W, factors, delta)
    W[2, 2] = value
    with pytest.raises(InputError, match="the base weight holds NaN or infinity"):
        fold_weight(W, factors, torch.zeros(4))


@pytest.mark.parametrize("shape", [(3,), (5,), (1,), (4, 1), ()], ids=str)
def test_a_delta_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    W, factors, _ = made(6, 5, 4, 0)
    with pytest.raises(InputError, match="its basis has rank 4"):
        fold_weight(W, factors, torch.ones(shape))
