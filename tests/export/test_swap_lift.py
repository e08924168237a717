"""Adapters whose directions differ, lifted to one basis, are the same maps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from export.adapter import Adapter
from export.basis import Basis, Factors, LayerBasis, tensor_sha256
from export.core import Core
from export.fold import weight_change
from export.store import FactorStore, Stored
from export.swap.lift import lift, same_directions
from serve.errors import InputError

SHAPES = {"a": (6, 5), "b": (4, 7), "c": (5, 5), "d": (3, 8)}
ALL = {name: list(range(min(shape))) for name, shape in SHAPES.items()}


@pytest.fixture
def store(tmp_path: Path) -> FactorStore:
    """The factors of four layers' weights."""
    made = FactorStore(tmp_path)
    for number, (name, shape) in enumerate(SHAPES.items()):
        torch.manual_seed(number)
        U, S, Vh = torch.linalg.svd(torch.randn(shape), full_matrices=False)
        made.put(key(name), Factors(U.contiguous(), S.contiguous(), Vh.contiguous()))
    return made


def key(name: str) -> str:
    return tensor_sha256(torch.tensor(ord(name)))


def on(store: FactorStore, directions: dict[str, list[int]], seed: int = 0, **parts: Any) -> Adapter:
    torch.manual_seed(seed)
    layers, delta, sigma = {}, {}, {}
    for name, places in directions.items():
        found = store.find(key(name), places[-1] + 1, float("inf"))
        assert found is not None
        kept = found.factors.take(places)
        digest = tensor_sha256(kept.U, kept.S, kept.Vh)
        layers[name] = LayerBasis(SHAPES[name], len(places), key(name), digest, tuple(places))
        delta[name], sigma[name] = torch.randn(len(places)), kept.S
    return Adapter(Basis(layers), delta, sigma, {"head.weight": torch.ones(2)}, **{"card": {"name": "t"}, **parts})


def changes(store: FactorStore, adapter: Adapter) -> dict[str, torch.Tensor]:
    return {name: weight_change(factors, adapter.delta[name]) for name, factors in store.load(adapter.basis)}


def test_lifted_adapters_change_the_weights_as_they_did(store: FactorStore) -> None:
    before = {
        "first": on(store, {"a": [1, 3], "c": [0, 1]}, 1),
        "second": on(store, {"a": [0, 4], "b": [2], "d": [0, 1, 2]}, 2),
    }
    after = lift(before, store)
    assert same_directions(after)
    assert not same_directions(before)
    basis = after["first"].basis
    assert list(basis.layers) == ["a", "b", "c", "d"] or list(basis.layers) == ["a", "c", "b", "d"]
    for name, adapter in after.items():
        assert adapter.basis == basis
        assert dict(adapter.card) == {"name": "t"}
        was, now = changes(store, before[name]), changes(store, adapter)
        for layer, change in now.items():
            expected = was.get(layer, torch.zeros_like(change))
            torch.testing.assert_close(change, expected, rtol=0, atol=1e-14)  # float64, zeros among the sums
            full = store.get(key(layer))
            assert full is not None
            assert torch.equal(adapter.sigma[layer], full.S)


def test_the_lifted_basis_is_that_of_full_rank(store: FactorStore) -> None:
    full, few = on(store, ALL), on(store, {"b": [1, 3], "d": [2]})
    lifted = lift({"few": few, "full": full}, store)
    assert lifted["few"].basis.id == lifted["full"].basis.id == full.basis.id
    assert all(torch.equal(value, full.delta[name]) for name, value in lifted["full"].delta.items())
    assert lift({"few": few, "prefix": on(store, {name: [0, 1] for name in ALL})}, store)["few"].basis == full.basis


def test_a_lifted_adapter_is_one_that_is_saved_and_loaded(store: FactorStore, tmp_path: Path) -> None:
    lifted = lift({"few": on(store, {"b": [1, 3], "d": [2]})}, store)["few"]
    lifted.save(tmp_path)
    assert Adapter.load(tmp_path).basis == lifted.basis


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (ALL, ALL, True),
        ({"a": [0, 1]}, {"a": [0, 1]}, True),
        ({"a": [0, 1]}, {"a": [0, 1, 2]}, False),
        ({"a": [0, 2]}, {"a": [0, 2]}, False),
        ({"a": [0]}, {"b": [0]}, False),
    ],
)
def test_only_first_directions_of_one_basis_are_left_as_they_are(
    store: FactorStore, one: dict[str, list[int]], other: dict[str, list[int]], same: bool
) -> None:
    assert same_directions({"one": on(store, one, 1), "other": on(store, other, 2)}) is same


def test_other_base_weights_are_refused(store: FactorStore) -> None:
    one, other = on(store, {"a": [1]}), on(store, {"a": [2]})
    full = store.get(key("a"))
    assert full is not None
    store.put("f" * 64, full)
    layer = other.basis.layers["a"]
    moved = LayerBasis(layer.shape, 1, "f" * 64, layer.factors_sha256, layer.directions)
    with pytest.raises(InputError, match="other and one were trained on other base weights: layer a differs"):
        lift({"one": one, "other": Adapter(Basis({"a": moved}), other.delta, other.sigma, {})}, store)


def test_another_decomposition_is_refused(store: FactorStore) -> None:
    adapter, full = on(store, {"a": [1]}), store.get(key("a"))
    assert full is not None
    store.put(key("a"), Factors(-full.U, full.S, -full.Vh))
    with pytest.raises(InputError, match="are those that one were trained on"):
        lift({"one": adapter}, store)


def test_adapters_on_the_first_directions_found_by_iteration_are_lifted_to_those(store: FactorStore) -> None:
    full = store.get(key("a"))
    assert full is not None
    part = Factors(-full.U[:, :4].contiguous(), full.S[:4].contiguous(), -full.Vh[:4].contiguous())
    store.path(key("a")).unlink()
    store.add(key("a"), Stored(part, 1e-6, 1e-5))
    one, other = on(store, {"a": [1, 3]}, 1), on(store, {"a": [0]}, 2)
    for whole in (False, True):
        if whole:  # which it then isn't taken for
            store.put(key("a"), full)
        lifted = lift({"one": one, "other": other}, store)
        assert lifted["one"].basis.layers["a"].rank == 4
        torch.testing.assert_close(changes(store, lifted["one"]), changes(store, one), rtol=0, atol=1e-14)
    mixed = on(store, {"a": [4]})
    with pytest.raises(InputError, match="are those that one and mixed were trained on"):
        lift({"one": one, "mixed": mixed}, store)


def test_of_several_files_the_one_that_adapters_were_trained_on_is_taken(store: FactorStore) -> None:
    full = store.get(key("a"))
    assert full is not None
    store.path(key("a")).unlink()
    larger = Factors(-full.U[:, :4].contiguous(), full.S[:4].contiguous(), -full.Vh[:4].contiguous())
    store.add(key("a"), Stored(larger, 1e-6, 1e-5))
    adapter = on(store, {"a": [0, 2]})
    store.add(key("a"), Stored(full.top(3), 1e-6, 1e-5))
    lifted = lift({"one": adapter}, store)["one"]
    assert lifted.basis.layers["a"].rank == 4
    torch.testing.assert_close(changes(store, lifted), changes(store, adapter), rtol=0, atol=1e-14)


def test_another_core_is_refused(store: FactorStore) -> None:
    plain = on(store, {"a": [0, 1]})
    values = {"a": torch.ones(2, 2)}
    with pytest.raises(InputError, match="one: only a diagonal adapter can be lifted into another basis, not a dense"):
        lift({"one": Adapter(plain.basis, values, plain.sigma, {}, core=Core("dense"))}, store)
