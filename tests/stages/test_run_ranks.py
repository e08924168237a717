"""Runs with other cores, with ranks by a budget, and with directions dropped: from rows to a bundle that answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_task import svfit, write_task

from export.adapter import Adapter
from serve.predictor import Predictor
from serve.verify import verify

LAYERS, RANK = 12, 32


def configured(folder: Path, base: Path, adapter: str) -> Path:
    config = write_task(folder, base)
    config.write_text(f"{config.read_text()}[adapter]\n{adapter}\n[quantize]\nenabled = false\n")
    return config


def run(folder: Path, base: Path, adapter: str, *overrides: str) -> tuple[dict[str, Any], str]:
    """All of a run: its report, and what it told."""
    result = svfit("run", configured(folder, base, adapter), "--output", folder / "run", "--debug", *overrides)
    assert result.exit_code == 0, result.stderr
    report: dict[str, Any] = json.loads((folder / "run" / "report.json").read_text("utf-8"))
    assert [gate["name"] for gate in report["gates"] if gate["passed"]] == ["merge", "parity"]
    assert verify(folder / "run" / "bundle").passed
    answers = Predictor(folder / "run" / "bundle").predict(["hot line leak door cold", "line cold lamp fan hot"])
    assert [answer.label for answer in answers] == ["plumbing", "electrical"]
    return report, " ".join(result.stderr.split())


def learn(folder: Path, base: Path, adapter: str, *overrides: str) -> tuple[dict[str, Any], str]:
    """Training and the fold alone: training.json, and what the training told."""
    config = configured(folder, base, adapter)
    result = svfit("finetune", config, "--output", folder / "run", "--debug", *overrides)
    assert result.exit_code == 0, result.stderr
    merged = svfit("merge", config, "--output", folder / "run", "--debug", *overrides)
    assert merged.exit_code == 0, merged.stderr
    training: dict[str, Any] = json.loads((folder / "run" / "adapter" / "training.json").read_text("utf-8"))
    learned = Adapter.load(folder / "run" / "adapter")
    assert learned.size == training["adapter"]["values"]
    assert [row["rank"] for row in training["adapter"]["layers"]] == [
        layer.rank for layer in learned.basis.layers.values()
    ]
    return training, " ".join(result.stderr.split())


def page(folder: Path) -> str:
    return (folder / "run" / "report.html").read_text("utf-8")


def test_a_banded_core_goes_all_the_way(tmp_path: Path, base: Path) -> None:
    report, _ = run(tmp_path, base, 'core = "banded"')
    assert report["metrics"]["test"]["accuracy"] >= 0.95
    assert report["trainable"]["adapter"] == report["adapter"]["values"] == LAYERS * (3 * RANK - 2)
    assert "banded (1 on either side)" in page(tmp_path)


def test_a_dense_core_on_ranks_by_the_default_budget_goes_all_the_way(tmp_path: Path, base: Path) -> None:
    report, told = run(tmp_path, base, 'core = "dense"\nrank = "auto"', "--set", "train.learning_rate=0.01")
    assert report["metrics"]["test"]["accuracy"] >= 0.9
    lora = sum(8 * (32 + wide) for wide in 2 * [32, 32, 32, 32, 48, 48])
    assert report["trainable"]["lora_r8"] == lora
    assert lora // 16 - 2 * RANK < report["trainable"]["adapter"] == report["adapter"]["values"] <= lora // 16
    assert report["adapter"]["chosen"]["budget"] == lora // 16
    assert f"ranks: {report['adapter']['values']:,} values on " in told
    assert "directions a layer, by score" in told
    assert "directions a layer, by score" in page(tmp_path)


def test_scattered_directions_of_which_some_are_dropped_go_all_the_way(tmp_path: Path, base: Path) -> None:
    report, told = run(tmp_path, base, 'rank = "auto"\nbudget = 100\nkeep = 0.9')
    dropped = report["adapter"]["dropped"]
    assert dropped["directions"] == report["trainable"]["adapter"] == 100
    assert (
        sum(row["rank"] for row in report["adapter"]["layers"]) == report["adapter"]["values"] == dropped["kept"] < 100
    )
    assert dropped["after"]["accuracy"] == report["variants"][0]["metrics"]["validation"]["accuracy"]
    before, after = dropped["before"]["accuracy"], dropped["after"]["accuracy"]
    assert f"kept {dropped['kept']} of 100 directions: accuracy {before:.4f} → {after:.4f}" in told
    assert f"{dropped['kept']} of 100 directions" in page(tmp_path)


@pytest.mark.parametrize(
    ("adapter", "core", "values"),
    [
        ('core = "banded"\nbands = 2\nrank = 8', "banded (2 on either side)", LAYERS * (5 * 8 - 6)),
        ('core = "dense"\nrank = 6', "dense", LAYERS * 36),
    ],
)
def test_the_values_of_a_core_are_counted(tmp_path: Path, base: Path, adapter: str, core: str, values: int) -> None:
    training, _ = learn(tmp_path, base, adapter)
    assert training["adapter"]["core"] == core
    assert training["trainable"]["adapter"] == training["adapter"]["values"] == values


def test_a_budget_is_spread_by_score_and_told(tmp_path: Path, base: Path) -> None:
    training, told = learn(tmp_path, base, 'rank = "auto"\nbudget = 100')
    chosen, ranks = training["adapter"]["chosen"], [row["rank"] for row in training["adapter"]["layers"]]
    assert (chosen["budget"], chosen["values"], chosen["of"], chosen["by"]) == (100, 100, LAYERS, "by score")
    assert (min(ranks), max(ranks), len(ranks), sum(ranks)) == (
        chosen["least"],
        chosen["most"],
        chosen["layers"],
        100,
    )
    assert "ranks: 100 values on " in told


def test_a_budget_for_everything_needs_no_scores(tmp_path: Path, base: Path) -> None:
    training, told = learn(tmp_path, base, f'rank = "auto"\nbudget = {LAYERS * RANK}')
    assert training["adapter"]["values"] == LAYERS * RANK
    assert "ranks: 384 values on 12 layers, 32 directions a layer, all there are" in told


def test_the_default_budget_takes_the_better_half_of_scaled_directions(tmp_path: Path, base: Path) -> None:
    training, _ = learn(tmp_path, base, 'rank = "auto"')
    assert (training["adapter"]["values"], training["adapter"]["chosen"]["by"]) == (LAYERS * RANK // 2, "by score")


@pytest.mark.parametrize("adapter", ["", 'core = "dense"\nrank = 6\n', 'core = "banded"\nrank = 8\n'])
def test_what_did_not_move_is_dropped_from_any_core(tmp_path: Path, base: Path, adapter: str) -> None:
    training, _ = learn(tmp_path, base, f"{adapter}keep = 0.9")
    dropped = training["adapter"]["dropped"]
    assert dropped["kept"] < dropped["directions"]
    assert training["adapter"]["values"] < training["trainable"]["adapter"]
    curve, best = training["training"]["validation"], training["training"]["best"]
    row = next(entry for entry in curve if entry["epoch"] == best["epoch"])
    assert dropped["before"] == {key: row[key] for key in row if key not in ("step", "epoch", "seconds")}
    card = Adapter.load(tmp_path / "run" / "adapter").card
    assert card["metrics"]["validation"] == dropped["after"]


def test_the_same_seed_chooses_the_same_directions_and_another_one_others(tmp_path: Path, base: Path) -> None:
    adapters = []
    for number, seed in enumerate((0, 0, 1)):
        (folder := tmp_path / str(number)).mkdir()
        overrides = ("--set", f"train.seed={seed}", "--set", "train.epochs=1")
        learn(folder, base, 'rank = "auto"\nbudget = 40', *overrides)
        adapters.append((folder / "run" / "adapter" / "adapter.safetensors").read_bytes())
    assert adapters[0] == adapters[1] != adapters[2]
