"""A swappable run from rows to a bundle in which two tasks share one backbone, and a third that joins them later."""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_task import svfit, write_csv, write_task

from export.adapter import Adapter
from export.core import Core
from serve.bundle import Bundle
from serve.runtime import Runtime
from serve.verify import verify

LOOSE = ("--set", "export.swap_budget=9", "--set", "train.checkpoint=false")
"""A budget for models so small that a graph's fixed costs are most of its time."""


def sides(count: int, seed: int) -> list[tuple[str, str]]:
    """Another task on the same words: what comes first decides among three classes."""
    rng = random.Random(seed)  # noqa: S311 (rows, not secrets)
    made = []
    for number in range(count):
        first = ("fan", "hot", "line")[number % 3]
        made.append((" ".join([first, *rng.choices(["noise", "cold", "door"], k=4)]), f"{first}-side"))
    return made


def write_sides(folder: Path, base: Path, name: str) -> Path:
    write_csv(folder / f"{name}.csv", ("text", "label"), sides(150, 3))
    path = folder / f"{name}.toml"
    path.write_text(
        f'[model]\nbase = "{base}"\nmax_length = 16\n[data]\ntrain = "{name}.csv"\nvalidation_share = 0.2\n'
        "[train]\nepochs = 8\nbatch_size = 16\nlearning_rate = 0.05\nhead_learning_rate = 0.05\n"
    )
    return path


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Path:
    """A folder with two runs; `wet` is swappable and carries the adapter of `side`."""
    folder = tmp_path_factory.mktemp("site")
    side = write_sides(folder, base, "side")
    result = svfit("run", side, "--output", folder / "side", "--debug")
    assert result.exit_code == 0, result.stderr
    wet = write_task(folder, base)
    carried = ("--set", "export.mode=swappable", "--set", f'export.adapters=["{folder / "side"}"]')
    result = svfit("run", wet, "--output", folder / "wet", *carried, *LOOSE, "--debug")
    assert result.exit_code == 0, result.stderr
    return folder


def told(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "wet" / "swap" / "swap.json").read_text())
    return found


def test_both_tasks_answer_from_one_backbone_in_one_batch(site: Path) -> None:
    with Runtime(site / "wet" / "bundle") as runtime:
        names = [adapter.name for adapter in runtime.list()]
        assert sorted(names) == ["side", "wet-or-dry"]
        wet, side = (
            ("hot line leak door cold", "line cold lamp fan hot"),
            ("fan noise cold door noise", "line door cold"),
        )
        rows = [wet[0], side[0], wet[1], side[1]]
        answers = runtime.predict(rows, adapter=["wet-or-dry", "side", "wet-or-dry", "side"])
    assert [answer.label for answer in answers] == ["plumbing", "fan-side", "electrical", "line-side"]
    assert [answer.adapter for answer in answers] == ["wet-or-dry@1", "side@1", "wet-or-dry@1", "side@1"]


def test_the_bundle_verifies_in_every_variant(site: Path) -> None:
    result = verify(site / "wet" / "bundle")
    assert result.passed
    assert {check.variant for check in result.checks} == {"fp32", "int8"}


def test_each_task_keeps_the_accuracy_that_it_has_merged(site: Path) -> None:
    tasks = told(site)["tasks"]
    assert [row["name"] for row in tasks] == ["wet-or-dry", "side"]
    assert all(row["full"] >= 0.95 and abs(row["drop"]) <= 2.5 for row in tasks)


def test_the_gates_were_measured(site: Path) -> None:
    found = told(site)
    assert 0 < found["parity"]["max_abs"] <= 1e-4
    assert found["parity"]["mixed"] <= 1e-4
    assert set(found["price"]) == {"budget", "batch_1", "batch_16"}


def test_a_settled_adapter_moves_only_what_the_graph_carries(site: Path) -> None:
    manifest = Bundle.open(site / "wet" / "bundle").manifest
    assert manifest.swap is not None
    kept = {layer.name: list(layer.kept) for layer in manifest.swap.layers}
    adapter = Adapter.load(site / "wet" / "bundle" / "adapters" / "side")
    assert all(not np.delete(value.numpy(), kept[name]).any() for name, value in adapter.delta.items())
    assert any(value.any() for value in adapter.delta.values())


def test_a_task_trained_onto_the_bundle_joins_it_without_loss(site: Path, base: Path) -> None:
    folder = site / "later"
    folder.mkdir()
    config = write_sides(folder, base, "later")
    bundle = site / "wet" / "bundle"
    result = svfit("run", config, "--output", folder / "run", "--set", f"adapter.onto={bundle}", "--debug")
    assert result.exit_code == 0, result.stderr
    trained, state = folder / "run" / "adapter", folder / "state"
    result = svfit("adapter", "add", bundle, trained, "--name", "later", "--json", "--state", state)
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["dropped"] == 0
    merged = json.loads((folder / "run" / "report.json").read_text())
    assert merged["trainable"]["adapter"] == told(site)["files"]["width"]
    with Runtime(bundle, state=state, variant="fp32") as runtime:
        answers = runtime.predict([text for text, _ in sides(30, 9)], adapter="later")
    right = sum(answer.label == label for answer, (_, label) in zip(answers, sides(30, 9), strict=True))
    assert right >= 28


def test_a_run_on_fewer_directions_joins_on_all_of_them(site: Path, base: Path, tmp_path: Path) -> None:
    narrow = write_sides(tmp_path, base, "narrow")
    assert svfit("run", narrow, "--output", tmp_path / "narrow", "--set", "adapter.rank=8").exit_code == 0
    shutil.copytree(site / "wet", tmp_path / "wet")
    named = f'export.adapters=["{tmp_path / "narrow"}"]'
    carried = ("--set", "export.mode=swappable", "--set", named, *LOOSE, "--debug")
    result = svfit("run", site / "wet-or-dry.toml", "--output", tmp_path / "wet", *carried)
    assert result.exit_code == 0, result.stderr
    full, few = (Adapter.load(path / "adapter").basis for path in (site / "wet", tmp_path / "narrow"))
    assert full.id != few.id
    bundle = Bundle.open(tmp_path / "wet" / "bundle")
    assert bundle.manifest.basis_id == full.id
    adapter = Adapter.load(bundle.path / "adapters" / "narrow")
    assert adapter.basis.id == full.id
    with Runtime(bundle.path, variant="fp32") as runtime:
        answers = runtime.predict([text for text, _ in sides(30, 9)], adapter="narrow")
    right = sum(answer.label == label for answer, (_, label) in zip(answers, sides(30, 9), strict=True))
    assert right >= 28


def test_a_run_with_another_core_is_refused(site: Path, tmp_path: Path) -> None:
    shutil.copytree(site / "side", tmp_path / "side")
    trained = Adapter.load(site / "side" / "adapter")
    dense = {name: torch.diag(value) for name, value in trained.delta.items()}
    replace(trained, delta=dense, core=Core("dense")).save(tmp_path / "side" / "adapter")
    named = f'export.adapters=["{tmp_path / "side"}"]'
    wet = site / "wet-or-dry.toml"
    result = svfit("swap", wet, "--output", site / "wet", "--set", "export.mode=swappable", "--set", named, *LOOSE)
    assert result.exit_code == 1
    assert f"{tmp_path / 'side' / 'adapter'}: its core is dense" in result.stderr
    assert 'use export.mode = "merged", or train with adapter.core = "diagonal"' in result.stderr


def test_a_folder_that_is_no_run_is_refused(site: Path, tmp_path: Path) -> None:
    wet = site / "wet-or-dry.toml"
    named = f'export.adapters=["{tmp_path}"]'
    result = svfit("swap", wet, "--output", site / "wet", "--set", "export.mode=swappable", "--set", named)
    assert result.exit_code == 2
    assert "no finished run" in result.stderr


def test_a_merged_run_has_no_swap_stage(site: Path) -> None:
    result = svfit("swap", site / "wet-or-dry.toml", "--output", site / "wet")
    assert result.exit_code == 2
    assert "export.mode=swappable" in result.stderr
