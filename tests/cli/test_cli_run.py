"""`svfit run` and the stage commands: what they hand on and what they print."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from pipeline.cli import main

if TYPE_CHECKING:
    from tests.cli.conftest import Runner

STAGES = ("finetune", "merge", "export", "quantize", "bundle", "report")


def test_run_prints_results_on_stdout_and_progress_on_stderr(task: Path, runner: Runner) -> None:
    result = CliRunner().invoke(main, ["run", str(task)])
    assert result.exit_code == 0, result.output
    assert result.stderr == "working\n"
    for part in (
        "test accuracy   0.9312",
        "13,824 adapter + 29,645 head",
        "LoRA r=8: 331,776",
        "gate parity",
        "passed",
        "int8 (default)",
        "23.1 MB",
        "report  runs/task/report.html",
        'try     svfit predict runs/task/bundle "your text"',
    ):
        assert part in result.stdout
    ((name, config, folder, fresh),) = runner.calls
    assert (name, config.name, folder, fresh) == ("run", "task", Path("runs/task"), False)


def test_run_hands_on_its_options(task: Path, runner: Runner, tmp_path: Path) -> None:
    arguments = ["run", str(task), "--fresh", "--set", "train.epochs=9", "--set", "train.seed=4"]
    result = CliRunner().invoke(main, [*arguments, "--output", "elsewhere", "--quiet"])
    assert (result.exit_code, result.stderr) == (0, "")
    ((_, config, folder, fresh),) = runner.calls
    assert (config.train.epochs, config.train.seed, folder, fresh) == (9, 4, Path("elsewhere"), True)


def test_json_is_one_document_without_nan(task: Path, runner: Runner) -> None:
    runner.answer = {**runner.answer, "metrics": {"test": {"matthews": float("nan")}}, "folder": Path("a/b")}
    result = CliRunner().invoke(main, ["run", str(task), "--json"])
    document = json.loads(result.stdout)
    assert document["metrics"]["test"]["matthews"] is None
    assert document["folder"] == "a/b"
    assert document["variants"] == runner.answer["variants"]


def test_a_fatal_gate_that_failed_ends_with_4_after_the_results(task: Path, runner: Runner) -> None:
    runner.answer = copy.deepcopy(runner.answer)
    runner.answer["gates"] = [
        {"name": "parity", "value": 0.5, "limit": 1e-4, "passed": False, "fatal": True},
        {"name": "int8", "value": 0.7, "limit": 0.5, "passed": False},
    ]
    result = CliRunner().invoke(main, ["run", str(task), "--json"])
    assert result.exit_code == 4
    assert json.loads(result.stdout) == runner.answer
    assert result.stderr.endswith("Error: gate parity failed: 0.5, limit 0.0001\n")


def test_a_gate_with_a_fallback_is_shown_and_does_not_fail_the_run(task: Path, runner: Runner) -> None:
    runner.answer = copy.deepcopy(runner.answer)
    runner.answer["gates"] = [{"name": "int8[drop]", "value": 0.7, "limit": 0.5, "passed": False}]
    result = CliRunner().invoke(main, ["run", str(task)])
    assert result.exit_code == 0
    assert "gate int8[drop]" in result.stdout
    assert "failed  0.7 (limit 0.5)" in result.stdout


def test_a_report_with_little_in_it_is_still_printed(task: Path, runner: Runner) -> None:
    runner.answer = {"name": "task"}
    result = CliRunner().invoke(main, ["run", str(task)])
    assert result.exit_code == 0, result.output
    assert "svfit predict runs/task/bundle" in result.stdout


def test_run_refuses_missing_rows_before_it_starts(task: Path, runner: Runner) -> None:
    Path("train.csv").unlink()
    result = CliRunner().invoke(main, ["run", str(task)])
    assert result.exit_code == 2
    assert "data.train: no such file" in result.stderr
    assert runner.calls == []


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_prints_its_summary_as_lines(task: Path, runner: Runner, stage: str) -> None:
    runner.answer = {"rows": 1200, "loss": 0.123456, "test": {"accuracy": 0.5}, "curve": [{"step": 1}], "ok": True}
    result = CliRunner().invoke(main, [stage, str(task)])
    assert result.exit_code == 0, result.output
    assert [line.split(None, 1) for line in result.stdout.splitlines()] == [
        ["rows", "1,200"],
        ["loss", "0.1235"],
        ["test.accuracy", "0.5"],
        ["curve", "1 entries"],
        ["ok", "yes"],
    ]
    ((name, config, folder, _),) = runner.calls
    assert (name, config.name, folder) == (stage, "task", Path("runs/task"))


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_prints_json_on_request(task: Path, runner: Runner, stage: str) -> None:
    result = CliRunner().invoke(main, [stage, str(task), "--json", "--quiet"])
    assert json.loads(result.stdout) == runner.answer
    assert result.stderr == ""
