"""`svfit run` from rows to a bundle that answers, on a model of a few thousand weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tiny_task import Finished, rows, svfit, write_csv, write_task

from pipeline.config import load
from pipeline.stages import runner
from pipeline.stages.context import Context
from serve.predictor import Predictor
from serve.verify import verify

STAGES = ("finetune", "merge", "export", "quantize", "bundle")


def document(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


@pytest.fixture
def run_copy(finished: Finished, tmp_path: Path) -> Path:
    """The finished run's folder, to change."""
    return Path(shutil.copytree(finished.folder, tmp_path / "run"))


def test_the_report_says_what_was_learned_and_that_the_gates_hold(finished: Finished) -> None:
    report = document(finished.folder / "report.json")
    assert report["metrics"]["test"]["accuracy"] >= 0.95
    assert report["trainable"]["adapter"] == 2 * 6 * 32
    assert report["trainable"]["head"] == 32 * 2 + 2
    assert [gate["name"] for gate in report["gates"]] == ["merge", "parity", "int8 accuracy"]
    assert all(gate["passed"] for gate in report["gates"])
    assert {row["name"] for row in report["variants"]} == {"fp32", "int8"}
    assert sum(map(sum, report["metrics"]["test"]["confusion"])) == 40
    assert len(report["adapter"]["layers"]) == 12


def test_the_page_stands_beside_the_numbers(finished: Finished) -> None:
    page = (finished.folder / "report.html").read_text("utf-8")
    assert "wet-or-dry" in page
    assert "plumbing" in page


def test_the_terminal_shows_the_result_and_where_it_is(finished: Finished) -> None:
    assert "test accuracy" in finished.stdout
    assert "int8" in finished.stdout
    assert str(finished.folder / "report.html") in finished.stdout
    assert f"svfit predict {finished.folder / 'bundle'}" in finished.stdout
    assert "finetune" in finished.stderr


def test_the_bundle_answers_and_verifies(finished: Finished) -> None:
    assert verify(finished.folder / "bundle").passed
    answers = Predictor(finished.folder / "bundle").predict(["hot line leak door cold", "line cold lamp fan hot"])
    assert [answer.label for answer in answers] == ["plumbing", "electrical"]


def test_the_resolved_configuration_is_kept_with_versions_seed_and_hashes(finished: Finished) -> None:
    kept = document(finished.folder / "config.json")
    assert kept["config"]["quantize"]["max_drop"] == 0.5
    assert kept["seed"] == 0
    assert "torch" in kept["versions"]
    assert all(len(split["sha256"]) == 64 for split in kept["data"].values())


def test_a_second_run_keeps_every_stage(finished: Finished, run_copy: Path) -> None:
    before = (run_copy / "adapter" / "adapter.safetensors").stat().st_mtime_ns
    result = svfit("run", finished.config, "--output", run_copy)
    assert result.exit_code == 0, result.stderr
    assert result.stderr.count("done before, kept") == len(STAGES)
    assert (run_copy / "adapter" / "adapter.safetensors").stat().st_mtime_ns == before


def test_a_broken_run_goes_on_at_the_first_stage_that_is_not_done(finished: Finished, run_copy: Path) -> None:
    shutil.rmtree(run_copy / "quantize")
    result = svfit("run", finished.config, "--output", run_copy)
    assert result.exit_code == 0, result.stderr
    kept = [line.split()[1] for line in result.stderr.splitlines() if "done before" in line]
    assert kept == ["finetune:", "merge:", "export:", "bundle:"]


def test_a_changed_key_makes_only_what_depends_on_it_stale(finished: Finished, run_copy: Path) -> None:
    result = svfit("run", finished.config, "--output", run_copy, "--set", "quantize.enabled=false")
    assert result.exit_code == 0, result.stderr
    kept = [line.split()[1] for line in result.stderr.splitlines() if "done before" in line]
    assert kept == ["finetune:", "merge:", "export:"]
    assert [row["name"] for row in document(run_copy / "report.json")["variants"]] == ["fp32"]
    assert not (run_copy / "bundle" / "variants").exists()


def test_fresh_starts_over_and_gives_the_same_adapter_and_graphs(finished: Finished, run_copy: Path) -> None:
    before = {name: (run_copy / name).read_bytes() for name in ("adapter/adapter.safetensors", "bundle/model.onnx")}
    result = svfit("run", finished.config, "--output", run_copy, "--fresh", "--json")
    assert result.exit_code == 0, result.stderr
    assert "done before" not in result.stderr
    assert json.loads(result.stdout)["format"] == "svfit-report"
    assert before == {name: (run_copy / name).read_bytes() for name in before}


def test_a_failed_parity_gate_ends_with_4_and_leaves_no_graph(finished: Finished, run_copy: Path) -> None:
    result = svfit("run", finished.config, "--output", run_copy, "--set", "export.parity=1e-12")
    assert result.exit_code == 4
    assert "logits" in result.stderr
    folders = {path.name for path in run_copy.iterdir() if path.is_dir() and path.name.startswith(".export")}
    assert not folders
    assert svfit("quantize", finished.config, "--output", run_copy, "--set", "export.parity=1e-12").exit_code == 2


def test_each_stage_is_a_command_that_reads_what_the_one_before_wrote(finished: Finished, run_copy: Path) -> None:
    for name in ("merged", "export", "quantize", "bundle", "report.json"):
        path = run_copy / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for command in ("merge", "export", "quantize", "bundle", "report"):
        result = svfit(command, finished.config, "--output", run_copy, "--json")
        assert result.exit_code == 0, result.stderr
        json.loads(result.stdout)
    assert verify(run_copy / "bundle").passed
    assert document(run_copy / "report.json")["metrics"] == document(finished.folder / "report.json")["metrics"]


def test_a_stage_without_the_one_before_says_what_to_run(finished: Finished, tmp_path: Path) -> None:
    result = svfit("merge", finished.config, "--output", tmp_path / "empty")
    assert result.exit_code == 2
    assert "svfit run wet-or-dry.toml" in result.stderr
    assert not (tmp_path / "empty" / "merged").exists()


def test_the_report_without_a_bundle_says_what_to_run(finished: Finished, run_copy: Path) -> None:
    shutil.rmtree(run_copy / "bundle")
    result = svfit("report", finished.config, "--output", run_copy)
    assert result.exit_code == 2
    assert "svfit run wet-or-dry.toml" in result.stderr


def test_a_stage_says_so_when_it_reads_what_another_configuration_made(finished: Finished, run_copy: Path) -> None:
    same = svfit("merge", finished.config, "--output", run_copy)
    other = svfit("merge", finished.config, "--output", run_copy, "--set", "train.learning_rate=0.5")
    assert same.exit_code == other.exit_code == 0
    assert "another configuration" not in same.stderr
    assert f"! {run_copy / 'adapter'} was made from another configuration" in other.stderr.replace("\n", " ")


def test_an_adapter_is_refused_on_a_base_that_changed(finished: Finished, run_copy: Path) -> None:
    path = run_copy / "adapter" / "adapter.json"
    card = document(path)
    card["card"]["base"]["sha256"] = "0" * 64
    path.write_text(json.dumps(card))
    result = svfit("merge", finished.config, "--output", run_copy)
    assert result.exit_code == 1
    assert "changed" in result.stderr


def test_a_pair_with_a_number_to_predict_goes_all_the_way_in_the_numbers_own_unit(tmp_path: Path, base: Path) -> None:
    table = [
        (first, second, 1000 + 300 * (kind == "plumbing") + number / 100)
        for number, ((first, kind), (second, _)) in enumerate(zip(rows(200, 3), rows(200, 4), strict=True))
    ]
    write_csv(tmp_path / "train.csv", ("first", "second", "cost"), table)
    config = tmp_path / "cost.toml"
    config.write_text(
        f'[model]\nbase = "{base}"\nmax_length = 32\n'
        '[data]\ntrain = "train.csv"\ntext = ["first", "second"]\nlabel = "cost"\n'
        "[train]\nepochs = 12\nbatch_size = 16\nlearning_rate = 0.05\nhead_learning_rate = 0.05\n"
    )
    result = svfit("run", config, "--output", tmp_path / "run", "--set", "quantize.max_drop=100")
    assert result.exit_code == 0, result.stderr
    report = document(tmp_path / "run" / "report.json")
    assert report["task"] == "text-regression"
    measured = report["metrics"]["validation"]
    assert set(measured) == {"pearson", "spearman", "mse", "mae"}
    assert measured["pearson"] > 0.9
    assert measured["mae"] < 75  # the classes are 300 apart; answering the mean is 150 off
    recorded = max(report["training"]["validation"], key=lambda row: row["pearson"])
    assert recorded["mae"] == pytest.approx(report["variants"][0]["metrics"]["validation"]["mae"], rel=1e-3)
    wet, dry = Predictor(tmp_path / "run" / "bundle").predict(
        [("hot leak door", "cold pump"), ("hot lamp door", "cold dark")]
    )
    assert wet.value is not None and dry.value is not None
    assert wet.value - dry.value > 150


def test_bad_rows_stop_the_run_before_anything_is_written(tmp_path: Path, base: Path) -> None:
    config = write_task(tmp_path, base)
    write_csv(tmp_path / "test.csv", ("text", "label"), [("hot leak", "gardening")])
    result = svfit("run", config, "--output", tmp_path / "run")
    assert result.exit_code == 1
    assert "test.csv:2" in result.stderr
    assert "gardening" in result.stderr
    assert not (tmp_path / "run").exists()


def test_too_few_rows_are_told_before_training(tmp_path: Path, base: Path) -> None:
    config = write_task(tmp_path, base)
    write_csv(tmp_path / "train.csv", ("text", "label"), rows(6, 1))
    result = svfit("run", config, "--output", tmp_path / "run")
    assert result.exit_code == 1
    assert "6 rows to learn from and choose by; at least 8" in result.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("task", "labels"), [("regression", ()), ("classification", ("0", "1"))])
def test_the_task_that_a_configuration_names_is_taken(tmp_path: Path, task: str, labels: tuple[str, ...]) -> None:
    numbers = [(text, str(place % 2)) for place, (text, _) in enumerate(rows(40, 1))]
    write_csv(tmp_path / "train.csv", ("text", "label"), numbers)
    path = tmp_path / "task.toml"
    path.write_text(f'[model]\nbase = "pypi:x"\n[data]\ntrain = "train.csv"\ntask = "{task}"\n')
    found = Context(load(path), tmp_path / "run", Console(stderr=True)).dataset
    assert (found.task, tuple(found.labels)) == (f"text-{task}", labels)


def test_the_stages_are_those_that_the_command_line_offers() -> None:
    assert tuple(stage.command for stage in runner.STAGES) == STAGES
