"""`svfit doctor` says what is there and what is missing, and fails only where serving is impossible."""

from __future__ import annotations

import json
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pipeline import doctor
from pipeline.cli import main
from pipeline.cli.failure import TRAIN_PACKAGES

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking for a GPU imports torch, which these tests needn't wait for."""
    monkeypatch.setattr(doctor, "_gpu", lambda **_: {"found": [], "usable": False, "reason": "none found"})


def without(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    real = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: None if name in names else real(name))


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[^A-Za-z0-9._-]", line)[0] for line in requirements}


def test_stages_hold_exactly_what_the_project_requires() -> None:
    project = tomllib.loads(PYPROJECT.read_text())["project"]
    assert set(doctor.STAGES["serve"]) == names(project["dependencies"])
    trained = names(project["optional-dependencies"]["train"])
    assert {*doctor.STAGES["export"], *doctor.STAGES["train"]} == trained
    assert set(TRAIN_PACKAGES.values()) == trained


def test_json_holds_machine_stages_and_disk() -> None:
    result = CliRunner().invoke(main, ["doctor", "--json"])
    document: dict[str, Any] = json.loads(result.stdout)
    assert result.exit_code == 0
    assert document["machine"]["cores"] >= 1
    assert document["disk_free_bytes"] > 0
    assert document["stages"]["serve"]["ready"] is True
    assert document["stages"]["serve"]["packages"]["numpy"]


def test_a_missing_train_package_is_named_with_the_way_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "onnx")
    result = CliRunner().invoke(main, ["doctor"])
    assert result.exit_code == 0
    assert "onnx is missing" in result.stdout
    assert "try: pip install 'svfit[train]'" in result.stdout
    stages = json.loads(CliRunner().invoke(main, ["doctor", "--json"]).stdout)["stages"]
    assert [stages[name]["ready"] for name in ("serve", "export", "train")] == [True, False, False]


def test_it_fails_where_serving_is_impossible(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "onnxruntime")
    result = CliRunner().invoke(main, ["doctor"])
    assert result.exit_code == 1
    assert "onnxruntime is missing" in result.stdout


def test_an_old_version_and_a_library_that_does_not_load_are_problems(monkeypatch: pytest.MonkeyPatch) -> None:
    real = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: "0.9.9" if name == "tokenizers" else real(name))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    old, broken = doctor.examine(Path.cwd())["stages"]["serve"]["problems"]
    assert old == "tokenizers 0.9.9 is older than 0.20"
    assert broken.startswith("onnxruntime does not load: ModuleNotFoundError: ")


@pytest.mark.parametrize(
    ("version", "numbers"), [("2.13.0+cpu", (2, 13)), ("2", (2,)), ("2.0.0", (2,)), ("1.10rc1", (1, 10)), ("x", ())]
)
def test_versions_compare_by_number(version: str, numbers: tuple[int, ...]) -> None:
    assert doctor._numbers(version) == numbers


def test_a_cpu_without_int8_dot_products_is_remarked_on() -> None:
    gpu = {"found": ["A100"], "usable": False, "reason": "torch is missing"}
    assert doctor._remarks({"isa": ["avx2"]}, gpu, 10**9) == [
        "this CPU has no int8 dot product (VNNI, AMX, ARM dotprod): int8 saves memory, speed may gain little",
        "A100 can't be used: torch is missing",
        "only 1.0 GB free on this disk; a run may need 2 GB",
    ]
    assert doctor._remarks({"isa": ["avx_vnni"]}, {"found": [], "usable": False}, 10**12) == []
