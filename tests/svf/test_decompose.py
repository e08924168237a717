"""The SVD of a weight, and that it is computed once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers.pytorch_utils import Conv1D

import pipeline.svf.decompose as decompose_module
from export.basis import Factors, tensor_sha256
from export.store import FactorStore
from pipeline.svf.decompose import decompose, decompose_weight, recall
from pipeline.svf.layer import oriented_weight
from serve.errors import InputError, UsageError


def weight(out: int, inp: int, seed: int = 0) -> torch.Tensor:
    torch.manual_seed(seed)
    return torch.randn(out, inp)


def layers(seed: int = 0) -> dict[str, nn.Module]:
    torch.manual_seed(seed)
    return {"a": nn.Linear(6, 4), "b": nn.Linear(4, 4), "c": nn.Linear(4, 8)}


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 999))
def test_the_triplets_are_a_singular_value_decomposition(out: int, inp: int, seed: int) -> None:
    W = weight(out, inp, seed)
    found = decompose_weight(W)
    U, S, Vh = found.U.double(), found.S.double(), found.Vh.double()
    close = 2e-6  # computed in float64 and rounded once to float32 (6e-8), summed over up to 12 terms of size 10
    torch.testing.assert_close(U @ torch.diag(S) @ Vh, W.double(), rtol=0, atol=close)
    eye = torch.eye(min(out, inp), dtype=torch.float64)
    torch.testing.assert_close(U.T @ U, eye, rtol=0, atol=close)
    torch.testing.assert_close(Vh @ Vh.T, eye, rtol=0, atol=close)
    assert bool((S[:-1] >= S[1:]).all())
    assert bool((S >= 0).all())
    assert {value.dtype for value in (found.U, found.S, found.Vh)} == {torch.float32}


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 999))
def test_the_sign_of_each_triplet_is_fixed(out: int, inp: int, seed: int) -> None:
    found = decompose_weight(weight(out, inp, seed))
    largest = found.U.gather(0, found.U.abs().argmax(0, keepdim=True))
    assert bool((largest > 0).all())


def test_two_decompositions_are_the_same_bytes() -> None:
    first, second = decompose_weight(weight(9, 7)), decompose_weight(weight(9, 7))
    assert all(torch.equal(getattr(first, name), getattr(second, name)) for name in ("U", "S", "Vh"))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_any_floating_weight_is_decomposed_in_more_than_its_own_precision(dtype: torch.dtype) -> None:
    W = weight(6, 5).to(dtype)
    found = decompose_weight(W)
    torch.testing.assert_close((found.U * found.S) @ found.Vh, W.float(), rtol=0, atol=2e-6)  # float32's rounding


def test_an_all_zero_weight_has_factors_too() -> None:
    found = decompose_weight(torch.zeros(4, 3))
    assert torch.equal(found.S, torch.zeros(3))
    assert bool(torch.isfinite(found.U).all())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_weight_that_holds_no_number_is_refused_by_its_layer(store: FactorStore, value: float) -> None:
    found = layers()
    with torch.no_grad():
        found["b"].weight[1, 1] = value  # type: ignore[operator]
    with pytest.raises(InputError, match=r"^layer b: holds NaN or infinity"):
        decompose(found, "full", store)


def test_the_second_time_everything_comes_from_the_store(store: FactorStore) -> None:
    told: list[tuple[int, int, str]] = []
    first = decompose(layers(), 3, store, lambda *step: told.append(step))
    second = decompose(layers(), 3, store)
    assert (first.computed, second.computed) == (3, 0)
    assert told == [(1, 3, "a"), (2, 3, "b"), (3, 3, "c")]
    assert first.basis.id == second.basis.id
    assert same(first.factors, second.factors)


def test_another_rank_takes_the_same_stored_factors(store: FactorStore) -> None:
    full = decompose(layers(), "full", store)
    low = decompose(layers(), 2, store)
    assert low.computed == 0
    assert [factors.rank for factors in low.factors.values()] == [2, 2, 2]
    assert all(torch.equal(low.spectra[name], full.factors[name].S) for name in low.spectra)


@pytest.mark.parametrize("damage", ["truncated", "a flipped bit", "other tensors", "empty"])
def test_a_damaged_store_file_is_computed_anew(store: FactorStore, damage: str) -> None:
    first = decompose(layers(), "full", store)
    path = store.path(first.basis.layers["b"].weight_sha256)
    data = bytearray(path.read_bytes())
    if damage == "truncated":
        path.write_bytes(data[:-7])
    elif damage == "a flipped bit":
        data[-3] ^= 1
        path.write_bytes(data)
    elif damage == "other tensors":
        path.write_bytes(store.path(first.basis.layers["a"].weight_sha256).read_bytes()[:8] + b"{}")
    else:
        path.write_bytes(b"")
    again = decompose(layers(), "full", store)
    assert again.computed == 1
    assert again.basis.id == first.basis.id
    assert path.stat().st_size == len(data), "and the store is whole again"


def test_equal_weights_are_decomposed_once(store: FactorStore) -> None:
    one = nn.Linear(4, 4)
    other = nn.Linear(4, 4)
    other.load_state_dict(one.state_dict())
    assert decompose({"one": one, "other": other}, "full", store).computed == 1


def test_a_conv1d_is_decomposed_as_out_by_in(store: FactorStore) -> None:
    found = decompose({"c": Conv1D(7, 5)}, "full", store)
    assert found.basis.layers["c"].shape == (7, 5)
    assert found.factors["c"].U.shape == (7, 5)


def test_the_basis_s_identity_is_that_of_weights_targets_and_ranks(store: FactorStore) -> None:
    ids = [
        decompose(layers(), "full", store).basis.id,
        decompose(layers(), 3, store).basis.id,
        decompose({name: layer for name, layer in layers().items() if name != "b"}, "full", store).basis.id,
        decompose({f"x.{name}": layer for name, layer in layers().items()}, "full", store).basis.id,
        decompose(layers(seed=1), "full", store).basis.id,
    ]
    assert len(set(ids)) == len(ids)


def test_the_basis_s_identity_is_that_of_the_factors_too(
    store: FactorStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def turned(W: torch.Tensor) -> Factors:  # an SVD as right as ours, as another LAPACK might give it
        found = decompose_weight(W)
        return Factors(-found.U, found.S, -found.Vh)

    ours = decompose(layers(), "full", store).basis.id
    monkeypatch.setattr(decompose_module, "decompose_weight", turned)
    assert decompose(layers(), "full", FactorStore(tmp_path / "other")).basis.id != ours


def test_a_bad_rank_is_refused_before_it_is_used(store: FactorStore) -> None:
    with pytest.raises(UsageError, match=r"adapter\.rank: must be > 0"):
        decompose(layers(), 0, store)


def test_only_the_chosen_directions_of_the_named_layers_are_in_the_basis(store: FactorStore) -> None:
    full = decompose(layers(), "full", store)
    found = decompose(layers(), "full", store, directions={"c": (1, 3), "a": [0, 2]})
    assert list(found.basis.layers) == ["a", "c"], "in the model's order"
    assert [layer.directions for layer in found.basis.layers.values()] == [(0, 2), (1, 3)]
    assert torch.equal(found.factors["c"].U, full.factors["c"].U[:, [1, 3]])
    assert same(dict(store.load(found.basis)), found.factors)
    assert torch.equal(found.spectra["a"], full.spectra["a"]), "the spectrum is the whole weight's"


def test_a_prefix_chosen_by_directions_is_the_rank_itself(store: FactorStore) -> None:
    by_rank = decompose(layers(), 2, store)
    by_places = decompose(layers(), "full", store, directions=dict.fromkeys(layers(), (0, 1)))
    assert by_places.basis.id == by_rank.basis.id


def test_an_adapter_s_directions_are_recalled(store: FactorStore) -> None:
    found = decompose(layers(), "full", store, directions={"b": (1, 2), "c": (0,)})
    again = recall(nn.ModuleDict(layers()), found.basis, store)
    assert same(again.factors, found.factors)


@pytest.mark.parametrize("chosen", [(), (1, 1), (2, 0), (-1, 2), (0, 4)])
def test_directions_that_are_none_are_refused(store: FactorStore, chosen: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=r"^directions of 'b': must be strictly increasing, at least one, from 0 to 3"):
        decompose(layers(), "full", store, directions={"b": chosen})


def test_directions_of_an_unknown_layer_are_refused(store: FactorStore) -> None:
    with pytest.raises(UsageError, match=r"^directions of 'd': no such layer; available: a, b, c"):
        decompose(layers(), "full", store, directions={"d": (0,)})
    with pytest.raises(UsageError, match="no layer has a direction"):
        decompose(layers(), "full", store, directions={})


def test_bf16_weights_have_an_identity_of_their_own() -> None:
    layer = nn.Linear(4, 4)
    before = tensor_sha256(oriented_weight(layer))
    assert tensor_sha256(oriented_weight(layer.to(torch.bfloat16))) != before


def same(first: Mapping[str, Factors], second: Mapping[str, Factors]) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(getattr(first[name], part), getattr(second[name], part))
        for name in first
        for part in ("U", "S", "Vh")
    )
