"""Errors end in one line on stderr and the documented exit code."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from pipeline.cli import main
from serve.errors import GateError, InputError, MissingDependency, SvfitError, UsageError

if TYPE_CHECKING:
    from tests.cli.conftest import Runner


class OutOfMemoryError(RuntimeError):
    """Named as torch's is."""


def raising(error: BaseException) -> Callable[[Any], None]:
    def act(_console: Any) -> None:
        raise error

    return act


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UsageError("no such thing"), 2, "Error: no such thing"),
        (InputError("train.csv:3: bad row"), 1, "Error: train.csv:3: bad row"),
        (GateError("logits differ"), 4, "Error: logits differ"),
        (SvfitError("failed"), 1, "Error: failed"),
        (
            MissingDependency("x", "train", "this"),
            1,
            "Error: this needs x, which is not installed here; try: pip install 'svfit[train]'",
        ),
        (
            ModuleNotFoundError("No module named 'torch'", name="torch"),
            1,
            "Error: svfit run needs torch, which is not installed here; try: pip install 'svfit[train]'",
        ),
        (
            ModuleNotFoundError("No module", name="sklearn.metrics"),
            1,
            "Error: svfit run needs scikit-learn, which is not installed here; try: pip install 'svfit[train]'",
        ),
        (
            OutOfMemoryError("CUDA out of memory"),
            1,
            "Error: out of memory; try a smaller batch: --set train.batch_size=8",
        ),
        (PermissionError(13, "Permission denied", "runs/x"), 1, "Error: runs/x: Permission denied"),
        (
            ValueError("odd\nvalue"),
            1,
            "Error: unexpected ValueError: odd (this is a bug in svfit; --debug shows where)",
        ),
        (
            ModuleNotFoundError("No module named 'pipeline.gone'", name="pipeline.gone"),
            1,
            "Error: unexpected ModuleNotFoundError: No module named 'pipeline.gone' (this is a bug in svfit; "
            "--debug shows where)",
        ),
        (KeyboardInterrupt(), 130, "Stopped."),
    ],
)
def test_an_error_is_one_line_and_a_code(
    task: Path, runner: Runner, error: BaseException, code: int, line: str
) -> None:
    runner.act = raising(error)
    for options in ([], ["--json"], ["--quiet"]):
        result = CliRunner().invoke(main, ["run", str(task), *options])
        assert (result.exit_code, result.stderr, result.stdout) == (code, f"{line}\n", "")


@pytest.mark.parametrize("arguments", [["--debug", "run", "task.toml"], ["run", "task.toml", "--debug"]])
def test_debug_shows_the_traceback_before_the_line(task: Path, runner: Runner, arguments: list[str]) -> None:
    runner.act = raising(ValueError("odd"))
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith("Traceback (most recent call last):")
    assert "in act" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("Error: unexpected ValueError: odd")


def test_several_problems_are_aligned_below_one_error(task: Path, runner: Runner) -> None:
    task.write_text("[train]\nbatch_size = 0\n")
    result = CliRunner().invoke(main, ["run", str(task)])
    assert result.exit_code == 2
    lines = result.stderr.splitlines()
    assert lines[0].startswith("Error: task.toml: model.base: is required")
    assert lines[1].startswith("       task.toml: data.train: is required")
    assert lines[2] == "       task.toml: train.batch_size: must be > 0 (got 0)"


def test_the_line_is_red_unless_no_color_is_set(task: Path, runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    runner.act = raising(InputError("bad"))
    assert "\x1b[31mError: bad" in CliRunner().invoke(main, ["run", str(task)], color=True).stderr
    monkeypatch.setenv("NO_COLOR", "1")
    assert CliRunner().invoke(main, ["run", str(task)], color=True).stderr == "Error: bad\n"


@pytest.mark.parametrize("arguments", [["run"], ["run", "task.toml", "--frsh"], ["run", "a", "b"]])
def test_a_wrong_command_line_is_a_usage_error(arguments: list[str]) -> None:
    assert CliRunner().invoke(main, arguments).exit_code == 2


def test_a_closed_pipe_ends_quietly(tmp_path: Path) -> None:
    script = textwrap.dedent("""
        import click
        from pipeline.cli.lazy import LazyGroup
        import sys, types

        module = types.ModuleType("many")

        @click.command()
        def many():
            for line in range(100_000):
                click.echo(line)

        module.many = many
        sys.modules["many"] = module
        LazyGroup(table={"many": ("many:many", "many lines")})(["many"])
    """)
    read, write = os.pipe()
    with subprocess.Popen([sys.executable, "-c", script], stdout=write, stderr=subprocess.PIPE) as process:
        os.close(write)
        os.read(read, 10)
        os.close(read)
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert process.returncode == 1
