"""`svfit update` of an adapter alone, and of one in a swappable bundle."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from rich.console import Console
from tiny_task import Finished, rows, svfit, write_csv
from update_rows import document, door_rows, new_rows

from export.adapter import Adapter
from pipeline.stages.finetune import plan
from pipeline.train.plan import RATES
from pipeline.update import Wish
from pipeline.update.parent import read_parent
from serve.bundle import Bundle

QUICK = ("--epochs", "1")


@pytest.fixture
def adapter(trained: Finished, tmp_path: Path) -> Path:
    """The run's adapter in a folder of its own."""
    return Path(shutil.copytree(trained.folder / "adapter", tmp_path / "tickets"))


def test_old_labels_keep_their_places_and_their_rows_of_the_head(adapter: Path, tmp_path: Path) -> None:
    data = new_rows(tmp_path, [*rows(20, 5), *door_rows(20, "carpentry")])
    still = ("--learning-rate", "1e-9", "--head-learning-rate", "1e-9")
    result = svfit("update", adapter, "--data", data, *still, *QUICK, "--json")
    assert result.exit_code == 0, result.stderr
    assert "1 new label: carpentry; the head grows from 2 to 3" in result.stderr
    before, after = Adapter.load(adapter), Adapter.load(tmp_path / "tickets-v2")
    assert after.card["labels"] == ["electrical", "plumbing", "carpentry"]
    for name, value in before.modules.items():
        torch.testing.assert_close(after.modules[name][:2], value, rtol=0, atol=1e-6)
        assert after.modules[name].shape[0] == 3
    assert bool((after.modules["classifier.weight"][2] != 0).any())
    for name, values in before.delta.items():
        torch.testing.assert_close(after.delta[name], values, rtol=0, atol=1e-6)
    assert sorted(path.name for path in (tmp_path / "tickets-v2").iterdir()) == [
        "adapter.json",
        "adapter.safetensors",
        "update.json",
    ]


def test_without_old_rows_it_says_that_forgetting_is_not_measured(adapter: Path, tmp_path: Path) -> None:
    data = new_rows(tmp_path, rows(20, 5))
    result = svfit("update", adapter, "--data", data, *QUICK)
    assert result.exit_code == 0, result.stderr
    assert "what it forgets isn't measured" in result.stderr
    assert "old validation" not in result.stdout
    assert f"next     svfit adapter add BUNDLE {tmp_path / 'tickets-v2'} --name NAME" in result.stdout


def test_old_rows_can_be_named(adapter: Path, tmp_path: Path) -> None:
    write_csv(tmp_path / "old.csv", ("text", "label"), rows(30, 2))
    write_csv(tmp_path / "replay.csv", ("text", "label"), rows(16, 6))
    data = new_rows(tmp_path, rows(20, 5))
    named = ("--validation", tmp_path / "old.csv", "--replay", tmp_path / "replay.csv")
    result = svfit("update", adapter, "--data", data, *named, *QUICK, "--json", "--out", tmp_path / "next")
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["rows"]["replayed"] == 16
    assert told["metrics"]["old"]["rows"] == 30
    assert told["adapter"] == str(tmp_path / "next")


def test_other_columns_can_be_named(adapter: Path, tmp_path: Path) -> None:
    write_csv(tmp_path / "june.csv", ("said", "meant"), rows(20, 5))
    result = svfit("update", adapter, "--data", tmp_path / "june.csv", "--text", "said", "--label", "meant", *QUICK)
    assert result.exit_code == 0, result.stderr


def test_it_goes_on_from_where_the_adapter_stopped(adapter: Path, tmp_path: Path) -> None:
    write_csv(tmp_path / "old.csv", ("text", "label"), rows(40, 2))
    data = new_rows(tmp_path, rows(20, 5))
    result = svfit("update", adapter, "--data", data, "--validation", tmp_path / "old.csv", *QUICK, "--json")
    assert json.loads(result.stdout)["metrics"]["old"]["before"]["accuracy"] > 0.9


def test_biases_and_norms_that_are_trained_go_on_too(trained: Finished, tmp_path: Path) -> None:
    both = ("--set", "adapter.train_bias=true", "--set", "adapter.train_layernorm=true", "--set", "train.epochs=1")
    made = svfit("finetune", trained.config, "--output", tmp_path / "biased", *both)
    assert made.exit_code == 0, made.stderr
    result = svfit("update", tmp_path / "biased", "--data", new_rows(tmp_path, rows(20, 5)), *QUICK)
    assert result.exit_code == 0, result.stderr
    before, after = (Adapter.load(tmp_path / name / "adapter") for name in ("biased", "biased-v2"))
    assert before.modules.keys() == after.modules.keys()
    norm = next(name for name in before.modules if "LayerNorm" in name)
    assert not torch.equal(before.modules[norm], after.modules[norm])


@pytest.mark.parametrize("core", ["banded", "dense"])
def test_every_core_goes_on(trained: Finished, tmp_path: Path, core: str) -> None:
    chosen = ("--set", f"adapter.core={core}", "--set", "adapter.rank=8", "--set", "train.epochs=1")
    made = svfit("finetune", trained.config, "--output", tmp_path / core, *chosen)
    assert made.exit_code == 0, made.stderr
    result = svfit("update", tmp_path / core, "--data", new_rows(tmp_path, rows(20, 5)), *QUICK, "--debug")
    assert result.exit_code == 0, result.stderr
    after = Adapter.load(tmp_path / f"{core}-v2" / "adapter")
    assert after.core.kind == core
    alone = read_parent(Wish(tmp_path / core / "adapter", tmp_path / "new.csv"), Console(quiet=True))
    assert plan(alone.context, "accuracy").learning_rate == RATES[core]
    went_on = svfit("merge", tmp_path / f"{core}-v2" / f"{core}-v2.toml", "--output", tmp_path / f"{core}-v2")
    assert went_on.exit_code == 0, went_on.stderr


def test_an_adapter_of_a_bundle_goes_on_without_the_cache_and_comes_back(
    trained: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loose = ("--set", "export.mode=swappable", "--set", "export.swap_budget=9", "--set", "export.settle_epochs=1")
    made = svfit("run", trained.config, "--output", tmp_path / "run", *loose, "--set", "quantize.enabled=false")
    assert made.exit_code == 0, made.stderr
    bundle = tmp_path / "run" / "bundle"
    monkeypatch.setenv("SVFIT_CACHE", str(tmp_path / "nothing"))
    monkeypatch.chdir(tmp_path)
    swap = Bundle.open(bundle).manifest.swap
    assert swap is not None
    (name,) = swap.adapters
    data = new_rows(tmp_path, [*rows(20, 5), *door_rows(20, "carpentry")])
    result = svfit("update", bundle / "adapters" / name, "--data", data, *QUICK, "--json", "--debug")
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["adapter"] == f"{name}-v2"  # in the current folder: a bundle is sealed
    after = Adapter.load(tmp_path / f"{name}-v2")
    for layer in swap.layers:
        left_out = sorted(set(range(layer.rank)) - set(layer.kept))
        assert not bool(after.delta[layer.name][left_out].any())
    added = svfit("adapter", "add", bundle, f"{name}-v2", "--name", name, "--json")
    assert added.exit_code == 0, added.stderr
    assert json.loads(added.stdout)["dropped"] == 0
    answered = svfit("predict", bundle, "--adapter", name, "door door cold", "--json")
    assert answered.exit_code == 0, answered.stderr
    copy = Path(shutil.copytree(tmp_path / f"{name}-v2", tmp_path / "elsewhere"))
    assert svfit("update", copy, "--data", data, "--onto", bundle, *QUICK).exit_code == 0
    assert document(copy / "adapter.json")["card"]["updated_from"][0]["version"] == 1
    assert svfit("update", copy, "--data", data, *QUICK, "--out", tmp_path / "none").exit_code == 1
    inside = svfit("update", copy, "--data", data, "--onto", bundle, "--out", bundle / "adapters" / "new")
    assert (inside.exit_code, "is in the bundle" in inside.stderr) == (2, True)
