"""Adapter files: what is written is what is read, and nothing hostile is taken."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import export.adapter as adapter_module
from export.adapter import Adapter
from export.basis import Basis, LayerBasis
from export.core import DIAGONAL, Core
from serve.errors import InputError

BASIS = Basis({"enc.b": LayerBasis((6, 5), 3, "0" * 64, "1" * 64), "enc.a": LayerBasis((4, 4), 2, "2" * 64, "3" * 64)})


def adapter(**changes: Any) -> Adapter:
    torch.manual_seed(0)
    parts: dict[str, Any] = {
        "delta": {"enc.b": torch.randn(3), "enc.a": torch.randn(2)},
        "sigma": {"enc.b": torch.rand(3), "enc.a": torch.rand(2)},
        "modules": {"head.weight": torch.randn(2, 4), "head.bias": torch.randn(2)},
        "card": {"name": "tickets", "labels": ["a", "é"]},
    }
    return Adapter(BASIS, **{**parts, **changes})


WRITTEN_BEFORE = "d1e8505916d8db750078d7db9f58048a21efae3489a202423a66a334fb4598ed"
"""Both files of a diagonal adapter, by the svfit that knew no other core."""
BANDED, DENSE = Core("banded", 2), Core("dense")


def of_core(core: Core, **changes: Any) -> Adapter:
    """`adapter()` with values of another core."""
    torch.manual_seed(1)
    ranks = {"enc.b": 3, "enc.a": 2}
    delta = {name: torch.randn(core.shape(rank)) * core.mask(rank) for name, rank in ranks.items()}
    return adapter(**{"delta": delta, "core": core, **changes})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    adapter().save(tmp_path)
    return tmp_path


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    path = folder / "adapter.safetensors"
    tensors = {name: value.clone() for name, value in load_file(path).items()}
    change(tensors)
    save_file(tensors, path)


def redescribe(folder: Path, **changes: Any) -> None:
    path = folder / "adapter.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **changes}), encoding="utf-8")


def refused(folder: Path) -> str:
    with pytest.raises(InputError) as told:
        Adapter.load(folder)
    line = str(told.value)
    assert "\n" not in line
    assert str(folder) in line
    return line


def test_what_is_saved_is_what_is_loaded(folder: Path) -> None:
    found, wanted = Adapter.load(folder), adapter()
    assert found.basis == BASIS
    assert found.size == 5
    assert list(found.delta) == ["enc.b", "enc.a"], "in the basis's order, not the file's"
    assert dict(found.card) == dict(wanted.card)
    for part in ("delta", "sigma", "modules"):
        ours, theirs = getattr(found, part), getattr(wanted, part)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("core", [DIAGONAL, BANDED, Core("banded", 7), DENSE], ids=str)
def test_values_of_every_core_are_saved_and_loaded(tmp_path: Path, core: Core) -> None:
    wanted = of_core(core)
    wanted.save(tmp_path)
    found = Adapter.load(tmp_path)
    assert found.core == core
    assert found.size == wanted.size == core.count(3) + core.count(2)
    assert all(torch.equal(value, wanted.delta[name]) for name, value in found.delta.items())


def test_chosen_directions_are_saved_and_loaded(tmp_path: Path) -> None:
    layer = LayerBasis((6, 5), 3, "0" * 64, "1" * 64, (0, 2, 4))
    basis = Basis({**BASIS.layers, "enc.b": layer})
    Adapter(basis, adapter().delta, adapter().sigma, {}).save(tmp_path)
    assert Adapter.load(tmp_path).basis == basis


def test_a_diagonal_adapter_s_bytes_are_those_of_before_there_were_cores(tmp_path: Path) -> None:
    sums = torch.tensor([0.5, -0.25])
    layer = LayerBasis((3, 2), 2, "0" * 64, "1" * 64)
    Adapter(Basis({"a": layer}), {"a": sums}, {"a": sums.abs()}, {"head.bias": -sums}, {"name": "t"}).save(tmp_path)
    written = b"".join((tmp_path / name).read_bytes() for name in ("adapter.json", "adapter.safetensors"))
    assert hashlib.sha256(written).hexdigest() == WRITTEN_BEFORE


def test_an_adapter_that_names_no_core_is_diagonal(folder: Path) -> None:
    path = folder / "adapter.json"
    document = json.loads(path.read_text("utf-8"))
    del document["core"]
    path.write_text(json.dumps(document), encoding="utf-8")
    assert Adapter.load(folder).core == DIAGONAL


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"core": "round"}, "adapter core 'round' is unknown; available: diagonal, banded, dense"),
        ({"core": "banded"}, "bands of a banded core: must be a whole number, at least 1 (got None)"),
        ({"core": "banded", "bands": 1e9}, "bands of a banded core: must be a whole number, at least 1"),
        ({"core": "dense", "bands": 1}, "a dense core has no bands (got 1)"),
        ({"bands": 2}, "a diagonal core has no bands (got 2)"),
        ({"core": "dense"}, "delta.enc.b has shape (3,), not (3, 3)"),
        ({"core": "banded", "bands": 10**12}, "delta.enc.b has shape (3,), not (2000000000001, 3)"),
    ],
    ids=str,
)
def test_a_core_that_the_file_does_not_hold_is_refused(folder: Path, changes: dict[str, Any], told: str) -> None:
    redescribe(folder, **changes)
    assert told in refused(folder)


def test_a_banded_core_with_other_bands_is_refused(tmp_path: Path) -> None:
    of_core(BANDED).save(tmp_path)
    redescribe(tmp_path, bands=1)
    assert "delta.enc.b has shape (5, 3), not (3, 3)" in refused(tmp_path)


def test_values_outside_of_a_banded_matrix_are_neither_loaded_nor_written(tmp_path: Path) -> None:
    of_core(BANDED).save(tmp_path)
    rewrite(tmp_path, lambda tensors: tensors["delta.enc.a"].__setitem__((0, 0), 1e-20))
    assert "delta.enc.a: holds values outside of its banded 2 × 2 matrix" in refused(tmp_path)
    source, other = of_core(BANDED), tmp_path / "other"
    source.delta["enc.a"][0, 0] = 1.0
    other.mkdir()
    with pytest.raises(InputError, match="outside of its banded"):
        source.save(other)
    assert list(other.iterdir()) == []


def test_values_of_another_core_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"adapter: delta\.enc\.b has shape \(3,\), not \(3, 3\)"):
        adapter(core=DENSE).save(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_only_two_files_are_written(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["adapter.json", "adapter.safetensors"]


def test_the_same_adapter_is_the_same_bytes_in_any_order(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    source = adapter()
    turned: dict[str, Any] = {
        part: dict(reversed(getattr(source, part).items())) for part in ("delta", "sigma", "modules", "card")
    }
    Adapter(BASIS, **turned).save(other)
    for name in ("adapter.json", "adapter.safetensors"):
        assert (folder / name).read_bytes() == (other / name).read_bytes()


def test_half_precision_parts_are_written_as_float32(tmp_path: Path) -> None:
    adapter(modules={"head.weight": torch.ones(2, 4, dtype=torch.bfloat16)}).save(tmp_path)
    assert Adapter.load(tmp_path).modules["head.weight"].dtype == torch.float32


@pytest.mark.parametrize("part", ["delta", "modules"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_adapter_with_no_numbers_is_not_written(tmp_path: Path, part: str, value: float) -> None:
    source = adapter()
    next(iter(getattr(source, part).values())).view(-1)[0] = value
    with pytest.raises(InputError, match="NaN or infinity: the training diverged"):
        source.save(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["adapter.json", "adapter.safetensors"])
def test_a_missing_file_is_told(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert "needs adapter.json and adapter.safetensors" in refused(folder)


def test_an_unknown_tensor_is_refused(folder: Path) -> None:
    rewrite(folder, lambda tensors: tensors.update({"code.run": torch.ones(1)}))
    assert "unknown tensor code.run; known prefixes: delta, sigma, module" in refused(folder)


@pytest.mark.parametrize("kind", ["delta", "sigma"])
def test_layers_beyond_or_short_of_the_basis_are_refused(folder: Path, kind: str) -> None:
    rewrite(folder, lambda tensors: tensors.pop(f"{kind}.enc.a"))
    assert f"the {kind} layers are not those of its basis" in refused(folder)
    rewrite(folder, lambda tensors: tensors.update({f"{kind}.enc.a": torch.ones(2), f"{kind}.more": torch.ones(2)}))
    assert f"the {kind} layers are not those of its basis" in refused(folder)


@pytest.mark.parametrize("shape", [(1,), (4,), (3, 1), ()], ids=str)
def test_a_wrong_shape_is_refused(folder: Path, shape: tuple[int, ...]) -> None:
    rewrite(folder, lambda tensors: tensors.update({"delta.enc.b": torch.ones(shape)}))
    assert f"delta.enc.b has shape {shape}, not (3,)" in refused(folder)


@pytest.mark.parametrize("dtype", [torch.float64, torch.int64, torch.complex64, torch.float8_e4m3fn], ids=str)
def test_another_dtype_is_refused(folder: Path, dtype: torch.dtype) -> None:
    rewrite(folder, lambda tensors: tensors.update({"delta.enc.b": torch.ones(3).to(dtype)}))
    assert "an adapter is float32 throughout" in refused(folder)


@pytest.mark.parametrize("name", ["delta.enc.b", "sigma.enc.b", "module.head.bias"])
@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_values_that_are_no_numbers_are_refused(folder: Path, name: str, value: float) -> None:
    rewrite(folder, lambda tensors: tensors[name].__setitem__(0, value))
    assert f"{name} holds NaN or infinity" in refused(folder)


def test_a_truncated_file_is_refused(folder: Path) -> None:
    path = folder / "adapter.safetensors"
    path.write_bytes(path.read_bytes()[:-5])
    assert "not a readable safetensors file" in refused(folder)


@pytest.mark.parametrize("data", [b"", b"\x00" * 4, b"\xff" * 64, b"PK\x03\x04pickle"], ids=repr)
def test_what_is_no_safetensors_is_refused(folder: Path, data: bytes) -> None:
    (folder / "adapter.safetensors").write_bytes(data)
    assert "not a readable safetensors file" in refused(folder)


def test_sizes_are_bounded_before_anything_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter_module, "MAX_TENSOR_BYTES", 64)
    assert "adapter.safetensors: larger than 64 bytes" in refused(folder)
    with (folder / "adapter.json").open("ab") as file:
        file.truncate(adapter_module.MAX_CARD_BYTES + 1)  # sparse: it takes no room on disk
    assert f"adapter.json: larger than {adapter_module.MAX_CARD_BYTES} bytes" in refused(folder)


@pytest.mark.parametrize("text", ["", "{", "nonsense", "[" * 100_000, '{"a": "\udcff"}'], ids=lambda text: text[:9])
def test_a_card_that_is_no_json_is_refused(folder: Path, text: str) -> None:
    (folder / "adapter.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert "not valid JSON" in refused(folder)


@pytest.mark.parametrize("text", ["[]", "3", "null", "{}", '{"format": "lora"}'])
def test_another_format_is_refused(folder: Path, text: str) -> None:
    (folder / "adapter.json").write_text(text)
    assert "not an svfit adapter" in refused(folder)


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_version_is_refused_with_ours(folder: Path, version: Any) -> None:
    redescribe(folder, format_version=version)
    assert f"adapter format {version}, this svfit reads 1" in refused(folder)


def test_an_id_that_is_not_the_basis_s_is_refused_with_both(folder: Path) -> None:
    redescribe(folder, basis_id="f" * 64)
    line = refused(folder)
    assert "f" * 64 in line
    assert BASIS.id in line


@pytest.mark.parametrize("basis", [None, [], {}, {"layers": [{}]}], ids=str)
def test_a_basis_that_is_none_is_refused(folder: Path, basis: Any) -> None:
    redescribe(folder, basis=basis)
    assert "basis" in refused(folder)


def test_a_card_that_is_no_table_is_refused(folder: Path) -> None:
    redescribe(folder, card=["a"])
    assert "its card is no table" in refused(folder)
