"""A bundle that arrives is checked by its hashes and by its own stored answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_bundle import Shape, make_bundle, reseal, tiny_graph
from tiny_swap import make_adapter, make_swap_bundle

import serve.verify
from serve.errors import GateError, InputError
from serve.verify import OTHER_ISA, VerifyResult, verify

HERE = ["avx2"]


@pytest.fixture(autouse=True)
def same_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend to be the machine that the tiny bundle says it was made on."""
    monkeypatch.setattr(serve.verify, "instruction_sets", lambda: HERE)


def answers_moved(folder: Path, variant: str, by: float) -> None:
    """Reseal with one stored logit changed."""
    path = folder / "samples.json"
    value = json.loads(path.read_text())
    value["outputs"][variant][0][0] += by
    path.write_text(json.dumps(value))
    reseal(folder)


def row(result: VerifyResult, variant: str) -> Any:
    return next(check for check in result.checks if check.variant == variant)


@pytest.mark.parametrize("shape", [Shape(), Shape(texts=2), Shape(regression=True)], ids=str)
def test_a_bundle_as_it_was_made_passes_exactly(tmp_path: Path, shape: Shape) -> None:
    result = verify(make_bundle(tmp_path / "bundle", shape))
    assert [(check.variant, check.max_abs, check.passed) for check in result.checks] == [
        ("fp32", 0.0, True),
        ("int8", 0.0, True),
    ]
    assert row(result, "fp32").agreement == (None if shape.regression else 1.0)
    result.require()


def test_a_swappable_bundle_answers_with_its_first_adapter_in_every_variant(tmp_path: Path) -> None:
    path = make_swap_bundle(tmp_path / "bundle")
    result = verify(path)
    assert [(check.variant, check.passed) for check in result.checks] == [("fp32", True), ("int8", True)]
    assert result.adapters == ("alpha", "beta")
    answers_moved(path, "int8", 1.0)
    assert [check.passed for check in verify(path).checks] == [True, False]


def test_sealed_adapters_that_do_not_load_are_named(tmp_path: Path) -> None:
    path = make_swap_bundle(tmp_path / "bundle")
    made = make_adapter(tmp_path / "other", basis_id="c" * 64)
    for name in ("adapter.json", "adapter.safetensors"):
        (path / "adapters" / "beta" / name).write_bytes((made / name).read_bytes())
    reseal(path)
    with pytest.raises(InputError, match=f"adapter beta.*{'c' * 64}"):
        verify(path)


@pytest.mark.parametrize(("by", "passed"), [(0.9e-4, True), (1.1e-4, False)])
def test_a_difference_over_the_tolerance_fails_the_gate(bundle_path: Path, by: float, passed: bool) -> None:
    answers_moved(bundle_path, "fp32", by)
    result = verify(bundle_path)
    assert result.passed is passed
    assert row(result, "fp32").max_abs == pytest.approx(by, rel=1e-2)
    if not passed:
        with pytest.raises(GateError, match=r"fp32 differs by 0\.0001\d+ \(tolerance 0\.0001\)"):
            result.require()


def test_another_model_under_the_same_samples_fails_the_gate(bundle_path: Path) -> None:
    (bundle_path / "model.onnx").write_bytes(tiny_graph(3, seed=1))
    reseal(bundle_path)
    assert not row(verify(bundle_path), "fp32").passed


def test_a_changed_file_is_an_input_error_not_a_gate(bundle_path: Path) -> None:
    path = bundle_path / "model.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")
    with pytest.raises(InputError, match=r"model\.onnx was changed"):
        verify(bundle_path)


def test_int8_from_another_instruction_set_is_compared_by_labels_and_says_so(
    bundle_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers_moved(bundle_path, "int8", 2e-2)
    assert not row(verify(bundle_path), "int8").passed
    monkeypatch.setattr(serve.verify, "instruction_sets", lambda: ["neon", "asimddp"])
    moved = row(verify(bundle_path), "int8")
    assert moved.passed
    assert moved.tolerance == pytest.approx(1e-2 * OTHER_ISA)
    assert "made on avx2, checked on neon/asimddp" in moved.remark
    assert row(verify(bundle_path), "fp32").remark == ""
    answers_moved(bundle_path, "int8", 100.0)
    assert not row(verify(bundle_path), "int8").passed


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"rows": []}, "samples.json.rows: empty"),
        ({"rows": [["a", "b"]] * 4}, r"samples\.json\.rows\[0\]: must be a list of 1 text"),
        ({"outputs": {}}, "needs outputs and a tolerance for each of fp32, int8"),
        ({"outputs": {"fp32": [[1.0]], "int8": [[1.0]]}}, r"outputs\.fp32: must be 4 lists of 3 numbers"),
        ({"tolerance": {"fp32": -1, "int8": 1}}, r"tolerance\.fp32: must be a number"),
        ({"outputs": {"fp32": [[1e300] * 3] * 4, "int8": [[1.0] * 3] * 4}}, "too large for float32"),
        ({"more": 1}, "more: unknown key"),
    ],
)
def test_samples_of_another_form_are_refused(bundle_path: Path, change: dict[str, Any], told: str) -> None:
    path = bundle_path / "samples.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    reseal(bundle_path)
    with pytest.raises(InputError, match=told):
        verify(bundle_path)
