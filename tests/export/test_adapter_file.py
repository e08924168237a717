"""Adapter files: what is written is what is read, and nothing hostile is taken."""

from __future__ import annotations

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


def test_only_two_files_are_written(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["adapter.json", "adapter.safetensors"]


def test_the_same_adapter_is_the_same_bytes_in_any_order(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    source = adapter()
    turned = {part: dict(reversed(getattr(source, part).items())) for part in ("delta", "sigma", "modules", "card")}
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
