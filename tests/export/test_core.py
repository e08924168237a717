"""The three cores as algebra: what each makes of its values is the matrix that it says it is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from export.core import DIAGONAL, Core
from serve.errors import InputError

few = settings(max_examples=60, deadline=None)
EXACT: dict[str, Any] = {"rtol": 1e-12, "atol": 1e-12}
"""In float64, sums of up to 9 products of size about 1."""


@st.composite
def cores(draw: st.DrawFn) -> tuple[Core, int]:
    """A core and a rank; also banded ones with more bands than directions."""
    kind = draw(st.sampled_from(["diagonal", "banded", "dense"]))
    return Core(kind, draw(st.integers(1, 12)) if kind == "banded" else 0), draw(st.integers(1, 9))


def drawn(core: Core, rank: int, seed: int = 0) -> torch.Tensor:
    """Random values of a layer, float64."""
    torch.manual_seed(seed)
    return torch.randn(core.shape(rank), dtype=torch.float64) * core.mask(rank)


def by_hand(core: Core, values: torch.Tensor) -> torch.Tensor:
    """`C`, place by place, as the class's docstring says."""
    rank = values.shape[-1]
    C = torch.zeros(rank, rank, dtype=values.dtype)
    for i in range(rank):
        for j in range(rank):
            if core.kind == "dense":
                C[i, j] = values[i, j]
            elif core.kind == "diagonal" and i == j:
                C[i, i] = values[i]
            elif core.kind == "banded" and abs(j - i) <= core.bands:
                C[i, j] = values[j - i + core.bands, i]
    return C


@few
@given(cores(), st.integers(0, 99))
def test_the_matrix_is_the_one_the_values_describe(case: tuple[Core, int], seed: int) -> None:
    core, rank = case
    values = drawn(core, rank, seed)
    assert torch.equal(core.matrix(values), by_hand(core, values))


@few
@given(cores(), st.sampled_from([(), (1,), (4,), (2, 3)]))
def test_applying_it_is_the_product_with_the_matrix(case: tuple[Core, int], batch: tuple[int, ...]) -> None:
    core, rank = case
    values, inner = drawn(core, rank), torch.randn(*batch, rank, dtype=torch.float64)
    torch.testing.assert_close(core.apply(values, inner), inner @ by_hand(core, values).T, **EXACT)


@few
@given(cores())
def test_the_transposed_values_are_those_of_the_transposed_matrix(case: tuple[Core, int]) -> None:
    core, rank = case
    values = drawn(core, rank)
    turned = core.transposed(values)
    assert turned.shape == core.shape(rank)
    assert torch.equal(core.matrix(turned), core.matrix(values).T)
    assert torch.equal(core.transposed(turned), values)
    core.check(turned, rank, "transposed")  # nothing outside of the matrix


@few
@given(cores())
def test_count_and_mask_are_the_values_that_can_matter(case: tuple[Core, int]) -> None:
    core, rank = case
    values = torch.ones(core.shape(rank), dtype=torch.float64)
    inner = torch.rand(5, rank, dtype=torch.float64) + 0.5
    (moved,) = torch.autograd.grad(core.apply(values.requires_grad_(), inner).sum(), values)
    assert torch.equal(moved != 0, core.mask(rank))
    assert core.count(rank) == int(core.mask(rank).sum()) == int((core.matrix(values.detach()) != 0).sum())


@few
@given(cores(), st.floats(-3, 3))
def test_it_is_linear_in_the_values_and_in_what_it_is_applied_to(case: tuple[Core, int], by: float) -> None:
    core, rank = case
    one, other = drawn(core, rank, 1), drawn(core, rank, 2)
    x, y = torch.randn(2, 3, rank, dtype=torch.float64)
    torch.testing.assert_close(core.apply(one + by * other, x), core.apply(one, x) + by * core.apply(other, x), **EXACT)
    torch.testing.assert_close(core.apply(one, x + by * y), core.apply(one, x) + by * core.apply(one, y), **EXACT)


@few
@given(cores())
def test_the_squares_of_a_direction_are_half_of_its_row_s_and_its_column_s(case: tuple[Core, int]) -> None:
    core, rank = case
    values = drawn(core, rank)
    squares = core.matrix(values).square()
    torch.testing.assert_close(core.by_direction(values), (squares.sum(0) + squares.sum(1)) / 2, **EXACT)
    assert torch.equal(core.diagonal(values), core.matrix(values).diagonal())


@few
@given(cores(), st.data())
def test_taken_values_are_the_matrix_s_rows_and_columns(case: tuple[Core, int], data: st.DataObject) -> None:
    core, rank = case
    first = data.draw(st.integers(1, rank))
    some = st.sets(st.integers(0, rank - 1), min_size=1).map(sorted)
    places = list(range(first)) if core.kind == "banded" else data.draw(some)
    values = drawn(core, rank)
    taken = core.take(values, places)
    core.check(taken, len(places), "taken")
    assert torch.equal(core.matrix(taken), core.matrix(values)[places][:, places])


@few
@given(cores())
def test_zeros_map_to_zeros(case: tuple[Core, int]) -> None:
    core, rank = case
    assert not core.apply(torch.zeros(core.shape(rank)), torch.randn(3, rank)).any()


@few
@given(st.integers(2, 9))
def test_banded_with_all_bands_is_dense(rank: int) -> None:
    banded, dense = Core("banded", rank - 1), Core("dense")
    values = drawn(banded, rank)
    x = torch.randn(4, rank, dtype=torch.float64)
    torch.testing.assert_close(banded.apply(values, x), dense.apply(banded.matrix(values), x), **EXACT)
    assert banded.count(rank) == dense.count(rank) == rank**2


@few
@given(st.integers(1, 9), st.integers(1, 12))
def test_banded_with_nothing_beside_the_diagonal_is_diagonal(rank: int, bands: int) -> None:
    banded = Core("banded", bands)
    values = torch.zeros(banded.shape(rank))
    values[bands] = torch.randn(rank)
    x = torch.randn(4, rank)
    assert torch.equal(banded.apply(values, x), DIAGONAL.apply(values[bands], x))


@few
@given(st.integers(1, 9), st.integers(1, 12), st.integers(0, 9))
def test_more_bands_than_directions_change_nothing(rank: int, bands: int, more: int) -> None:
    small, large = Core("banded", bands), Core("banded", bands + more)
    values = drawn(small, rank)
    padded = torch.zeros(large.shape(rank), dtype=torch.float64)
    padded[more : more + 2 * bands + 1] = values
    assert torch.equal(large.matrix(padded), small.matrix(values))
    if bands >= rank - 1:
        assert large.count(rank) == small.count(rank) == rank**2


@few
@given(cores())
def test_gradients_of_values_and_of_what_it_is_applied_to_are_right(case: tuple[Core, int]) -> None:
    core, rank = case
    values, x = drawn(core, rank).requires_grad_(), torch.randn(2, rank, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(core.apply, (values, x))


def test_values_that_are_no_numbers_reach_no_place_beyond_the_matrix() -> None:
    core = Core("banded", 1)
    inner = torch.tensor([1.0, 1.0, float("inf")])
    assert torch.isfinite(core.apply(drawn(core, 3).float(), inner)[0])


@few
@given(cores())
def test_a_core_survives_json(case: tuple[Core, int]) -> None:
    core, _ = case
    assert Core.from_dict(core.to_dict()) == core


def test_a_document_that_says_nothing_is_diagonal() -> None:
    assert Core.from_dict({}) == DIAGONAL
    assert DIAGONAL.to_dict() == {"core": "diagonal"}
    assert Core("banded", 2).to_dict() == {"core": "banded", "bands": 2}


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({"core": "round"}, "adapter core 'round' is unknown; available: diagonal, banded, dense"),
        ({"core": ["dense"]}, "is unknown"),
        ({"core": None}, "is unknown"),
        ({"core": "a\nb" * 99}, "is unknown"),
        ({"core": "banded"}, "at least 1 (got None)"),
        ({"core": "banded", "bands": 0}, "at least 1 (got 0)"),
        ({"core": "banded", "bands": True}, "at least 1 (got True)"),
        ({"core": "banded", "bands": 1.0}, "at least 1 (got 1.0)"),
        ({"core": "banded", "bands": "2"}, "at least 1 (got '2')"),
        ({"core": "dense", "bands": 2}, "a dense core has no bands (got 2)"),
        ({"bands": 1}, "a diagonal core has no bands (got 1)"),
    ],
    ids=str,
)
def test_what_is_no_core_is_refused_in_one_line(document: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError) as caught:
        Core.from_dict(document)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("kind", "bands"), [("round", 0), ("banded", 0), ("banded", -1), ("dense", 1), ("diagonal", 2)]
)
def test_a_core_that_can_not_be_is_refused(kind: str, bands: int) -> None:
    with pytest.raises(InputError, match="adapter core"):
        Core(kind, bands)


@few
@given(cores(), st.sampled_from([(), (3,), (2, 7), (4, 4, 4)]))
def test_values_of_another_shape_are_told_with_both(case: tuple[Core, int], shape: tuple[int, ...]) -> None:
    core, rank = case
    if core.shape(rank) != shape:
        with pytest.raises(InputError) as caught:
            core.check(torch.zeros(shape), rank, "delta.a")
        assert str(caught.value) == f"delta.a has shape {shape}, not {core.shape(rank)}"


def test_values_outside_of_a_banded_matrix_are_refused() -> None:
    core = Core("banded", 2)
    for place in torch.nonzero(~core.mask(3)).tolist():
        values = torch.zeros(core.shape(3))
        values[tuple(place)] = 1e-30
        with pytest.raises(InputError, match=r"delta\.a: holds values outside of its banded 3 × 3 matrix"):
            core.check(values, 3, "delta.a")
