"""The store's files: all triplets of a weight or its first, side by side, and which of them answers."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from export.basis import Basis, Factors, LayerBasis, tensor_sha256
from export.store import FactorStore, Stored
from serve.errors import InputError

KEY = "0123456789abcdef" * 4
TOLERANCE = 1e-5


def triplets(seed: int = 0, out: int = 9, inp: int = 8) -> Factors:
    torch.manual_seed(seed)
    U, S, Vh = torch.linalg.svd(torch.randn(out, inp), full_matrices=False)
    return Factors(U.contiguous(), S.contiguous(), Vh.contiguous())


def part(rank: int, tolerance: float = TOLERANCE, seed: int = 0) -> Stored:
    return Stored(triplets(seed).top(rank), tolerance / 2, tolerance)


def basis_of(factors: Factors, directions: tuple[int, ...]) -> Basis:
    kept = factors.take(directions)
    hashed = tensor_sha256(kept.U, kept.S, kept.Vh)
    return Basis({"a": LayerBasis((9, 8), len(directions), KEY, hashed, directions)})


def names(store: FactorStore) -> list[str]:
    return sorted(path.name.removeprefix(KEY) for path in store.root.iterdir())


def test_a_part_comes_back_with_its_error_and_knows_what_it_is_part_of(store: FactorStore) -> None:
    store.add(KEY, part(3))
    found = store.find(KEY, 2, TOLERANCE)
    assert found is not None
    assert (found.residual, found.tolerance) == (TOLERANCE / 2, TOLERANCE)
    assert (found.factors.rank, found.total) == (3, 8)
    assert torch.equal(found.factors.Vh, triplets().Vh[:3])
    assert names(store) == [".top3.1e-05.safetensors"]


def test_all_triplets_are_exact_and_answer_any_rank(store: FactorStore) -> None:
    store.add(KEY, Stored(triplets()))
    found = store.find(KEY, 8, 0.0)
    assert found is not None
    assert (found.residual, found.tolerance, found.total) == (None, 0.0, 8)
    assert names(store) == [".safetensors"]


def test_a_part_is_no_answer_to_more_triplets_or_to_a_tighter_tolerance(store: FactorStore) -> None:
    store.add(KEY, part(3))
    assert store.find(KEY, 4, TOLERANCE) is None
    assert store.find(KEY, 3, TOLERANCE / 10) is None
    assert store.find(KEY.replace("0", "f"), 3, TOLERANCE) is None
    assert store.get(KEY) is None, "get gives all triplets or none"


def test_the_fewest_triplets_that_suffice_answer_and_then_the_loosest(store: FactorStore) -> None:
    for stored in (Stored(triplets()), part(5, 1e-6), part(5, 1e-4), part(5), part(3), part(10)):
        store.add(KEY, stored)
    found = [store.find(KEY, rank, TOLERANCE) for rank in (1, 3, 4, 6)]
    assert [(one.factors.rank, one.tolerance) for one in found if one] == [
        (3, 1e-5),
        (3, 1e-5),
        (5, 1e-5),
        (8, 1e-5),
    ]


@pytest.mark.parametrize("tolerance", [1e-5, 0.1 + 0.2, 1.2345678901e-7, 0.5, 1.0])
def test_any_tolerance_names_a_file_that_is_found_again(store: FactorStore, tolerance: float) -> None:
    store.add(KEY, part(3, tolerance))
    found = store.find(KEY, 3, tolerance)
    assert found is not None
    assert found.tolerance == tolerance


def test_a_file_of_an_earlier_version_is_found(store: FactorStore) -> None:
    full = triplets()
    store.root.mkdir(parents=True)
    tensors = {"U": full.U, "S": full.S, "Vh": full.Vh}
    save_file(tensors, store.root / f"{KEY}.safetensors", {"sha256": tensor_sha256(*tensors.values())})
    found = store.find(KEY, 5, 0.0)
    assert found is not None
    assert found.residual is None
    assert torch.equal(found.factors.U, full.U)
    assert dict(store.load(basis_of(full, (1, 4))))["a"].rank == 2


def test_a_file_of_ours_reads_as_an_earlier_version_s(store: FactorStore) -> None:
    store.put(KEY, triplets())
    before = store.path(KEY).read_bytes()
    full = triplets()
    tensors = {"U": full.U, "S": full.S, "Vh": full.Vh}
    save_file(tensors, store.path(KEY), {"sha256": tensor_sha256(*tensors.values())})
    assert store.path(KEY).read_bytes() == before


@pytest.mark.parametrize("directions", [(0, 1), (0, 2), (1, 3)])
def test_load_finds_the_file_that_the_basis_was_made_from(store: FactorStore, directions: tuple[int, ...]) -> None:
    earlier, later = part(4, seed=1), triplets(seed=2)
    store.add(KEY, earlier)
    store.add(KEY, part(6, seed=3))
    store.add(KEY, Stored(later))
    for made in (earlier.factors, later):
        found = dict(store.load(basis_of(made, directions)))["a"]
        assert torch.equal(found.U, made.U[:, list(directions)])


def test_load_tells_missing_factors_from_others(store: FactorStore) -> None:
    basis = basis_of(triplets(), (0, 5))
    store.add(KEY, part(5))
    with pytest.raises(InputError, match=r"no factors for layer a in"):
        list(store.load(basis))
    store.add(KEY, part(6, seed=1))
    with pytest.raises(InputError, match=r"another decomposition of the same weight"):
        list(store.load(basis))


@pytest.mark.parametrize("damage", ["truncated", "a flipped bit", "no error stated", "empty"])
def test_a_damaged_part_is_passed_over(store: FactorStore, damage: str) -> None:
    store.add(KEY, part(3))
    store.add(KEY, part(5))
    path = store.path(KEY, 3, TOLERANCE)
    data = bytearray(path.read_bytes())
    if damage == "truncated":
        path.write_bytes(data[:-9])
    elif damage == "a flipped bit":
        data[-3] ^= 1
        path.write_bytes(data)
    elif damage == "no error stated":
        path.write_bytes(data.replace(b"residual", b"residuum"))
    else:
        path.write_bytes(b"")
    found = store.find(KEY, 2, TOLERANCE)
    assert found is not None
    assert found.factors.rank == 5


@pytest.mark.parametrize("name", [".top.1e-05", ".top3", ".top3.1.2.3", ".topx.1e-05", ".top3.nan", ".top-3.1e-05"])
def test_files_of_other_names_are_passed_over(store: FactorStore, name: str) -> None:
    store.add(KEY, part(3))
    store.path(KEY, 3, TOLERANCE).rename(store.root / f"{KEY}{name}.safetensors")
    assert store.find(KEY, 1, 1.0) is None


def test_a_folder_in_place_of_a_part_is_passed_over(store: FactorStore) -> None:
    store.path(KEY, 3, TOLERANCE).mkdir(parents=True)
    assert store.find(KEY, 1, 1.0) is None


def test_what_is_stored_knows_its_hash_and_that_of_any_choice(store: FactorStore) -> None:
    written, read = store.add(KEY, Stored(triplets())), store.find(KEY, 8, 0.0)
    assert read is not None
    full = tensor_sha256(read.factors.U, read.factors.S, read.factors.Vh)
    assert written.sha256 == read.sha256 == full
    assert read.take(range(8))[1] == full
    few, digest = read.take([1, 4])
    assert digest == tensor_sha256(few.U, few.S, few.Vh) != full


def test_all_of_a_file_s_triplets_are_hashed_once(store: FactorStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put(KEY, triplets())
    hashed: list[int] = []

    def counted(*tensors: torch.Tensor) -> str:
        hashed.append(len(tensors))
        return tensor_sha256(*tensors)

    monkeypatch.setattr("export.store.tensor_sha256", counted)
    assert dict(store.load(basis_of(triplets(), tuple(range(8)))))["a"].rank == 8
    assert hashed == [3]
