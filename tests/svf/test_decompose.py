"""The SVD of a weight, and that it is computed once."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers.pytorch_utils import Conv1D

import pipeline.svf.decompose as decompose_module
from export.basis import Factors, tensor_sha256
from export.store import FactorStore, Stored
from pipeline.svf.decompose import Solver, decompose, decompose_weight, recall
from pipeline.svf.randomized import randomized_svd, residual
from pipeline.svf.rank import RankSpec
from pipeline.svf.weights import oriented_weight
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
    assert all(torch.equal(again.spectra[name], S) for name, S in found.spectra.items()), "also beyond the directions"


@pytest.mark.parametrize("chosen", [(), (1, 1), (2, 0), (-1, 2), (0, 4)])
def test_directions_that_are_none_are_refused(store: FactorStore, chosen: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=r"^directions of 'b': must be strictly increasing, at least one, from 0 to 3"):
        decompose(layers(), "full", store, directions={"b": chosen})


def test_directions_of_an_unknown_layer_are_refused(store: FactorStore) -> None:
    with pytest.raises(UsageError, match=r"^directions of 'd': no such layer; available: a, b, c"):
        decompose(layers(), "full", store, directions={"d": (0,)})
    with pytest.raises(UsageError, match="no layer has a direction"):
        decompose(layers(), "full", store, directions={})


ITERATED = Solver(exact_up_to=20)


def large(count: int = 3) -> dict[str, nn.Module]:
    torch.manual_seed(5)
    return {f"l{place}": nn.Linear(40 + place, 48) for place in range(count)}


def test_encoders_as_large_as_bert_large_stay_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[tuple[int, int]] = []
    monkeypatch.setattr(decompose_module, "randomized_svd", lambda weight, *_, **__: tried.append(tuple(weight.shape)))
    monkeypatch.setattr(decompose_module, "decompose_weight", lambda weight: Factors(*[weight[:1]] * 3))
    for shape in ((4096, 1024), (1024, 1024), (1025, 1025)):
        Solver().solve(torch.zeros(1).expand(shape), "0" * 64, 64)
    assert tried == [(1025, 1025)]


def test_large_weights_are_iterated_and_say_so(store: FactorStore) -> None:
    found = decompose({**large(), **layers()}, 5, store, solver=ITERATED)
    assert found.randomized == 3
    assert set(found.residuals) == set(large())
    assert found.residual == max(found.residuals.values()) <= ITERATED.tolerance
    for name, layer in large().items():
        assert found.residuals[name] == residual(oriented_weight(layer), found.factors[name])
        exact = torch.linalg.svdvals(oriented_weight(layer).detach().double())
        torch.testing.assert_close(found.spectra[name].double(), exact[:5], rtol=0, atol=1e-5 * float(exact[0]))
        assert found.energy[name] == pytest.approx(float(exact.square().sum()), rel=1e-6)
    assert found.spectra["a"].numel() == 4, "all of an exact one"


def test_exact_triplets_have_no_residual(store: FactorStore) -> None:
    found = decompose(layers(), 2, store)
    assert (found.randomized, found.residual) == (0, None)
    assert found.energy["b"] == pytest.approx(float(found.spectra["b"].double().square().sum()), rel=1e-6)


@pytest.mark.parametrize("rank", ["full", 0.5, 6, {"l": 0.2}])
def test_what_needs_many_or_all_values_is_exact(store: FactorStore, rank: RankSpec) -> None:
    found = decompose(large(), rank, store, solver=ITERATED)  # an eighth of 40 is 5
    assert found.randomized == 0
    assert [S.numel() for S in found.spectra.values()] == [40, 41, 42]


def test_iterated_triplets_come_from_the_store_the_next_time(store: FactorStore, tmp_path: Path) -> None:
    first = decompose(large(), 5, store, solver=ITERATED)
    second = decompose(large(), 5, store, solver=ITERATED)
    elsewhere = decompose(large(), 5, FactorStore(tmp_path / "other"), solver=ITERATED)
    assert (first.computed, second.computed, elsewhere.computed) == (3, 0, 3)
    assert first.basis.id == second.basis.id == elsewhere.basis.id, "the start is the weight's own"
    assert second.residuals == first.residuals


def test_a_lower_rank_takes_what_is_stored_and_a_higher_one_is_computed_beside_it(store: FactorStore) -> None:
    middle = decompose(large(), 4, store, solver=ITERATED)
    assert decompose(large(), 2, store, solver=ITERATED).computed == 0
    more = decompose(large(), 5, store, solver=ITERATED)
    whole = decompose(large(), "full", store, solver=ITERATED)
    assert (more.computed, whole.computed) == (3, 3)
    assert more.basis.id != middle.basis.id
    for earlier in (middle, more, whole):
        assert same(dict(store.load(earlier.basis)), earlier.factors), "whoever came first keeps their basis"
    assert decompose(large(), 4, store, solver=ITERATED).basis.id == middle.basis.id
    assert decompose(large(), 6, store, solver=ITERATED).computed == 0


def test_a_tighter_tolerance_is_computed_and_a_looser_one_is_not(store: FactorStore) -> None:
    decompose(large(), 5, store, solver=ITERATED)
    assert decompose(large(), 5, store, solver=Solver(exact_up_to=20, tolerance=1e-3)).computed == 0
    tight = decompose(large(), 5, store, solver=Solver(exact_up_to=20, tolerance=1e-6))
    assert tight.computed == 3
    assert tight.residual is not None
    assert tight.residual <= 1e-6


def test_where_the_iteration_takes_too_long_the_svd_is_exact(
    store: FactorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decompose_module, "randomized_svd", partial(randomized_svd, effort=0.5))
    found = decompose(large(), 5, store, solver=ITERATED)
    assert found.randomized == 0
    assert all(S.numel() >= 40 for S in found.spectra.values())
    assert decompose(large(), "full", store).computed == 0


def test_iterated_directions_are_those_of_the_first_triplets(store: FactorStore) -> None:
    top = decompose(large(), 5, store, solver=ITERATED)
    found = decompose(large(), "full", store, directions={"l1": (1, 4)}, solver=ITERATED)
    assert found.computed == 0
    assert torch.equal(found.factors["l1"].U, top.factors["l1"].U[:, [1, 4]])
    assert same(dict(store.load(found.basis)), found.factors)
    assert found.residuals == {"l1": top.residuals["l1"]}


def test_a_large_weight_that_holds_no_number_is_refused(store: FactorStore) -> None:
    found = large()
    with torch.no_grad():
        found["l1"].weight[3, 3] = float("nan")  # type: ignore[operator]
    with pytest.raises(InputError, match=r"^layer l1: holds NaN or infinity"):
        decompose(found, 5, store, solver=ITERATED)


@pytest.mark.parametrize("rank", [5, "full"])
def test_interrupted_it_goes_on_where_it_was(store: FactorStore, rank: RankSpec) -> None:
    def stop(done: int, *_: object) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        decompose(large(4), rank, store, stop, solver=ITERATED)
    assert decompose(large(4), rank, store, solver=ITERATED).computed == 2


@pytest.mark.parametrize("rank", [2, 5])
def test_only_the_kept_triplets_stay_in_memory(store: FactorStore, rank: int) -> None:
    for found in (decompose(large(), rank, store), decompose(large(), rank, store)):
        for factors in found.factors.values():
            for value in (factors.U, factors.S, factors.Vh):
                assert value.untyped_storage().nbytes() == value.numel() * 4


def test_what_does_not_fit_into_the_gpu_is_computed_on_the_cpu(
    store: FactorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices: list[torch.device] = []
    whole = Solver._solve

    def full(solver: Solver, weight: torch.Tensor, key: str, rank: int) -> Stored:
        devices.append(weight.device)
        if len(devices) == 1:
            raise torch.cuda.OutOfMemoryError
        return whole(solver, weight, key, rank)

    monkeypatch.setattr(Solver, "_solve", full)
    assert decompose({"a": nn.Linear(4, 4)}, 2, store).computed == 1
    assert devices[1].type == "cpu"
    devices.clear()
    with pytest.raises(torch.cuda.OutOfMemoryError):
        decompose({"a": nn.Linear(4, 4)}, 2, store, solver=Solver(device="cpu"))


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
