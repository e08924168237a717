from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_bundle import LABELS, tiny_graph, tiny_tokenizer

from export.int8 import write_int8
from export.measure import measure, repeat_row
from export.pack import VariantFiles, write_bundle
from serve.bundle import Bundle
from serve.errors import InputError
from serve.manifest import BaseSpec, InputSpec
from serve.verify import verify

ROWS = ("the pump is leaking again", "fan noisy", "", "the line", "fan", "pump", "noisy line again", "is the fan on?")


@pytest.fixture
def parts(tmp_path: Path) -> dict[str, Any]:
    """What write_bundle takes, made of the smallest graph that answers."""
    import onnx

    folder = tmp_path / "parts"
    folder.mkdir()
    fp32, int8 = folder / "model.onnx", folder / "int8.onnx"
    model = onnx.load_model_from_string(tiny_graph(len(LABELS)))
    for node in model.graph.node:
        node.name = node.output[0]
    fp32.write_bytes(model.SerializeToString())
    write_int8(model, int8)
    tiny_tokenizer().save(str(folder / "tokenizer.json"))
    (folder / "adapter.json").write_text("{}\n")
    (folder / "adapter.safetensors").write_bytes(b"\x02\x00\x00\x00\x00\x00\x00\x00{}")
    return {
        "name": "tickets",
        "task": "text-classification",
        "labels": LABELS,
        "inputs": InputSpec(1, ("input_ids", "attention_mask"), 16, 0, 0, "[PAD]", "right"),
        "width": len(LABELS),
        "variants": [
            VariantFiles("fp32", fp32, metrics={"validation": {"accuracy": 0.9}}, parity={"max_abs": 1e-7}),
            VariantFiles("int8", int8, kept_fp32=["logits"]),
        ],
        "default_variant": "int8",
        "tokenizer_json": folder / "tokenizer.json",
        "adapters": {"default": folder},
        "samples": ROWS,
        "base": BaseSpec("local:tiny", "0" * 64),
        "basis_id": "b" * 64,
    }


def test_the_bundle_opens_and_answers_its_own_samples(parts: dict[str, Any], tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "bundle", **parts)
    result = verify(path)
    assert result.passed and {check.variant for check in result.checks} == {"fp32", "int8"}
    assert all(check.samples == len(ROWS) and check.max_abs == 0 for check in result.checks)
    manifest = Bundle.open(path).manifest
    assert (manifest.default_variant, manifest.variant().file) == ("int8", "variants/int8/model.onnx")
    assert manifest.variant().kept_fp32 == ("logits",)
    assert manifest.variant("fp32").metrics["validation"]["accuracy"] == 0.9
    assert set(manifest.files) == {
        "model.onnx",
        "variants/int8/model.onnx",
        "tokenizer.json",
        "samples.json",
        "adapters/default/adapter.json",
        "adapters/default/adapter.safetensors",
    }
    assert manifest.created.versions["onnxruntime"] == manifest.measured_on.onnxruntime


def test_the_same_inputs_give_the_same_bytes_but_for_the_time(parts: dict[str, Any], tmp_path: Path) -> None:
    first = write_bundle(tmp_path / "first", **parts, created_at="2026-01-01T00:00:00+00:00")
    same = write_bundle(tmp_path / "same", **parts, created_at="2026-01-01T00:00:00+00:00")
    later = write_bundle(tmp_path / "later", **parts, created_at="2026-01-02T00:00:00+00:00")
    names = sorted(str(file.relative_to(first)) for file in first.rglob("*") if file.is_file())
    assert [(first / name).read_bytes() for name in names] == [(same / name).read_bytes() for name in names]
    assert [name for name in names if (first / name).read_bytes() != (later / name).read_bytes()] == ["manifest.json"]
    one, two = (json.loads((folder / "manifest.json").read_text()) for folder in (first, later))
    assert {key for key in one if one[key] != two[key]} == {"created", "manifest_sha256"}


def test_samples_are_the_answers_of_each_variant(parts: dict[str, Any], tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "bundle", **parts)
    stored = json.loads((path / "samples.json").read_text())
    assert stored["rows"] == [[row] for row in ROWS]
    fp32, int8 = (np.array(stored["outputs"][name]) for name in ("fp32", "int8"))
    assert fp32.shape == int8.shape == (len(ROWS), len(LABELS))
    assert 0 < np.abs(fp32 - int8).max() < 0.2
    assert stored["tolerance"]["fp32"] < stored["tolerance"]["int8"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"samples": ROWS[:3]}, "8 sample rows or more"),
        ({"default_variant": "int4"}, "no variant 'int4'.*fp32, int8"),
        ({"adapters": {"default": Path("/nowhere")}}, r"/nowhere/adapter\.json: is missing"),
        ({"labels": ["a", "b"]}, "2 labels for an output 3 wide"),
    ],
)
def test_what_makes_no_bundle_is_refused_and_leaves_nothing(
    parts: dict[str, Any], tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    with pytest.raises(InputError, match=told):
        write_bundle(tmp_path / "out" / "bundle", **{**parts, **change})
    assert not list((tmp_path / "out").glob("**/*"))


def test_weights_beside_the_graph_come_along(parts: dict[str, Any], tmp_path: Path) -> None:
    import onnx

    fp32 = parts["variants"][0].file
    onnx.save_model(
        onnx.load(fp32), str(fp32), save_as_external_data=True, location="model.onnx.data", size_threshold=64
    )
    path = write_bundle(tmp_path / "bundle", **parts)
    assert verify(path).passed
    size = sum((path / name).stat().st_size for name in ("model.onnx", "model.onnx.data"))
    assert Bundle.open(path).manifest.variant("fp32").bytes == size


def test_measuring_gives_the_reports_numbers(parts: dict[str, Any]) -> None:
    row = {name: np.ones((1, 5), dtype=np.int64) for name in ("input_ids", "attention_mask")}
    files = {variant.name: variant.file for variant in parts["variants"]}
    found = measure(files, row, repeat_row(row), repeats=5)
    assert set(found) == {"fp32", "int8"}
    for numbers in found.values():
        assert json.loads(json.dumps(numbers)) == numbers
        assert (numbers["batch"], numbers["tokens"], numbers["threads"], numbers["throughput_batch"]) == (1, 5, 1, 16)
        assert 0 < numbers["p50_ms"] <= numbers["p99_ms"]
        assert numbers["throughput"] > 0
    with pytest.raises(InputError, match="at least one graph"):
        measure({}, row, row)


def test_packing_and_measuring_import_no_torch() -> None:
    code = (
        "import sys, export.pack, export.measure; print(sorted({'torch', 'transformers', 'onnx'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    assert done.stdout.strip() == "[]"
