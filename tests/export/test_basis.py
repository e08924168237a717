"""A basis's identity, and the store of its factors."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from export.basis import Basis, Factors, LayerBasis, tensor_sha256
from export.store import FactorStore, default_store
from serve.errors import InputError

SHA = st.text("0123456789abcdef", min_size=64, max_size=64)


@st.composite
def layer_bases(draw: st.DrawFn) -> LayerBasis:
    out, inp = draw(st.integers(1, 4096)), draw(st.integers(1, 4096))
    if draw(st.booleans()):
        places = sorted(draw(st.sets(st.integers(0, min(out, inp) - 1), min_size=1, max_size=6)))
        return LayerBasis((out, inp), len(places), draw(SHA), draw(SHA), tuple(places))
    return LayerBasis((out, inp), draw(st.integers(1, min(out, inp))), draw(SHA), draw(SHA))


def factors(seed: int = 0, out: int = 5, inp: int = 4) -> Factors:
    torch.manual_seed(seed)
    U, S, Vh = torch.linalg.svd(torch.randn(out, inp), full_matrices=False)
    return Factors(U.contiguous(), S.contiguous(), Vh.contiguous())


def basis_of(stored: dict[str, Factors], rank: int = 2) -> Basis:
    """A basis whose weights' hashes are those of the full factors."""
    found = {}
    for name, full in stored.items():
        kept = full.top(rank)
        shape = (full.U.shape[0], full.Vh.shape[1])
        found[name] = LayerBasis(shape, rank, key(full), tensor_sha256(kept.U, kept.S, kept.Vh))
    return Basis(found)


def key(full: Factors) -> str:
    return tensor_sha256(full.U)


@given(st.dictionaries(st.text(min_size=1), layer_bases(), max_size=4))
def test_a_basis_survives_json(layers: dict[str, LayerBasis]) -> None:
    basis = Basis(layers)
    again = Basis.from_dict(json.loads(json.dumps(basis.to_dict())))
    assert again == basis
    assert again.id == basis.id
    assert basis.size == sum(layer.rank for layer in layers.values())


def test_the_identity_depends_on_every_field_and_on_the_order() -> None:
    one = LayerBasis((4, 3), 2, "0" * 64, "1" * 64)
    variants = [
        {"a": one, "b": one},
        {"b": one, "a": one},
        {"a": one},
        {"a": one, "b": LayerBasis((3, 4), 2, "0" * 64, "1" * 64)},
        {"a": one, "b": LayerBasis((4, 3), 1, "0" * 64, "1" * 64)},
        {"a": one, "b": LayerBasis((4, 3), 2, "2" * 64, "1" * 64)},
        {"a": one, "b": LayerBasis((4, 3), 2, "0" * 64, "2" * 64)},
        {"a": one, "b": LayerBasis((4, 3), 2, "0" * 64, "1" * 64, (0, 2))},
        {"a": one, "b": LayerBasis((4, 3), 2, "0" * 64, "1" * 64, (1, 2))},
    ]
    assert len({Basis(layers).id for layers in variants}) == len(variants)


GOOD: dict[str, Any] = {
    "name": "a",
    "shape": [4, 3],
    "rank": 2,
    "weight_sha256": "0" * 64,
    "factors_sha256": "1" * 64,
}


BAD_DIRECTIONS: tuple[Any, ...] = (
    [],
    [0],
    [1, 0],
    [1, 1],
    [0, 1, 2],
    [0, 3],
    [-1, 0],
    [0, 2.0],
    [0, True],
    [0, "2"],
    "02",
    {"0": 0, "2": 2},
    2,
)


@pytest.mark.parametrize(
    "document",
    [
        {},
        [],
        {"layers": 3},
        {"layers": ["a"]},
        {"layers": [{**GOOD, "shape": [4]}]},
        {"layers": [{**GOOD, "shape": [4, 3, 2]}]},
        {"layers": [{**GOOD, "rank": "many"}]},
        {"layers": [{**GOOD, "rank": float("inf")}]},
        {"layers": [{**GOOD, "rank": 0}]},
        {"layers": [{**GOOD, "rank": -1}]},
        {"layers": [{**GOOD, "rank": 4}]},
        {"layers": [{**GOOD, "weight_sha256": "../../../etc/passwd"}]},
        *({"layers": [{**GOOD, "directions": places}]} for places in BAD_DIRECTIONS),
        {"layers": [{key: value for key, value in GOOD.items() if key != "factors_sha256"}]},
    ],
    ids=str,
)
def test_what_is_no_basis_is_refused(document: Any) -> None:
    with pytest.raises(InputError, match="basis description is malformed"):
        Basis.from_dict(document)


def test_directions_that_are_the_first_ones_are_not_told() -> None:
    plain = LayerBasis((4, 3), 2, "0" * 64, "1" * 64)
    assert LayerBasis((4, 3), 2, "0" * 64, "1" * 64, (0, 1)) == plain
    assert Basis({"a": plain}).to_dict() == {"layers": [GOOD]}, "identities from before directions stay"
    assert plain.places == (0, 1)
    chosen = LayerBasis((4, 3), 2, "0" * 64, "1" * 64, (0, 2))
    assert Basis({"a": chosen}).to_dict() == {"layers": [{**GOOD, "directions": [0, 2]}]}
    assert chosen.places == (0, 2)
    assert Basis.from_dict({"layers": [{**GOOD, "directions": [0, 1]}]}).id == Basis({"a": plain}).id


@given(st.sets(st.integers(0, 3), min_size=1))
def test_taken_triplets_are_those_of_their_places(places: set[int]) -> None:
    full, chosen = factors(), sorted(places)
    kept = full.take(chosen)
    assert kept.rank == len(chosen)
    for place, direction in enumerate(chosen):
        assert torch.equal(kept.U[:, place], full.U[:, direction])
        assert torch.equal(kept.S[place], full.S[direction])
        assert torch.equal(kept.Vh[place], full.Vh[direction])
    assert all(value.is_contiguous() for value in (kept.U, kept.S, kept.Vh))
    if chosen == list(range(len(chosen))):
        top = full.top(len(chosen))
        assert tensor_sha256(kept.U, kept.S, kept.Vh) == tensor_sha256(top.U, top.S, top.Vh)


def test_load_gives_the_chosen_directions(store: FactorStore) -> None:
    full = factors()
    store.put(key(full), full)
    kept = full.take([1, 3])
    layer = LayerBasis((5, 4), 2, key(full), tensor_sha256(kept.U, kept.S, kept.Vh), (1, 3))
    ((_, found),) = store.load(Basis({"a": layer}))
    assert torch.equal(found.Vh, full.Vh[[1, 3]])


def test_what_is_put_is_what_is_got(store: FactorStore) -> None:
    full = factors()
    store.put("0" * 64, full)
    found = store.get("0" * 64)
    assert found is not None
    assert all(torch.equal(getattr(found, name), getattr(full, name)) for name in ("U", "S", "Vh"))


def test_what_is_not_stored_is_none(store: FactorStore) -> None:
    assert store.get("0" * 64) is None


def test_a_file_in_place_of_a_file_s_name_is_none(store: FactorStore) -> None:
    store.path("0" * 64).mkdir(parents=True)
    assert store.get("0" * 64) is None


def test_the_hash_tells_dtype_shape_and_bytes_apart() -> None:
    ones = torch.ones(2, 3)
    hashes = [tensor_sha256(value) for value in (ones, ones.double(), ones.reshape(3, 2), ones * 2, ones[:1])]
    assert len(set(hashes)) == len(hashes)
    assert tensor_sha256(ones, ones) != tensor_sha256(ones)
    assert tensor_sha256(ones.T) == tensor_sha256(torch.ones(3, 2)), "a view hashes as what it shows"
    assert tensor_sha256(torch.empty(0)) != tensor_sha256(torch.empty(0, 2))


def test_load_gives_the_factors_of_the_basis_at_its_rank(store: FactorStore) -> None:
    stored = {"a": factors(0), "b": factors(1)}
    for full in stored.values():
        store.put(key(full), full)
    found = dict(store.load(basis_of(stored)))
    assert list(found) == ["a", "b"]
    assert torch.equal(found["b"].S, stored["b"].S[:2])


def test_missing_factors_are_told_with_the_layer_and_the_store(store: FactorStore) -> None:
    basis = basis_of({"a": factors()})
    with pytest.raises(InputError) as told:
        list(store.load(basis))
    line = str(told.value)
    assert line.startswith(f"basis {basis.id[:12]}: no factors for layer a in {store.root}; ")
    assert "SVFIT_CACHE" in line
    assert "\n" not in line


def test_another_decomposition_of_the_same_weight_is_refused(store: FactorStore) -> None:
    full = factors()
    basis = basis_of({"a": full})
    store.put(key(full), Factors(-full.U, full.S, -full.Vh))
    with pytest.raises(InputError, match=r"the factors of layer a in .* are another decomposition of the same weight"):
        list(store.load(basis))


def test_many_writers_of_one_file_leave_one_whole_file(store: FactorStore) -> None:
    full = factors(0, 200, 150)  # of one weight: they all write the same

    def work(_: int) -> bool:
        store.put("0" * 64, full)
        found = store.get("0" * 64)
        return found is not None and torch.equal(found.U, full.U)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(40)))
    assert [path.name for path in store.root.iterdir()] == [f"{'0' * 64}.safetensors"], "nothing half-written stays"


def test_the_store_s_place_is_the_environment_s(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SVFIT_CACHE", str(tmp_path / "here"))
    assert default_store() == tmp_path / "here"
    assert FactorStore().root == tmp_path / "here" / "svd"
    monkeypatch.delenv("SVFIT_CACHE")
    assert default_store() == Path.home() / ".cache" / "svfit"
