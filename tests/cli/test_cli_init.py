"""`svfit init` writes a configuration that loads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.config import load


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["my-task", "my-task.toml"])
def test_it_writes_a_file_that_loads(name: str, here: Path) -> None:
    result = CliRunner().invoke(main, ["init", name])
    assert (result.exit_code, result.stdout) == (0, "wrote my-task.toml\n")
    assert "svfit run my-task.toml" in result.stderr
    assert load(here / "my-task.toml").name == "my-task"


def test_it_never_overwrites_unless_forced(here: Path) -> None:
    path = here / "my-task.toml"
    path.write_text("mine")
    result = CliRunner().invoke(main, ["init", "my-task"])
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: my-task.toml is there already")
    assert path.read_text() == "mine"
    assert CliRunner().invoke(main, ["init", "my-task", "--force"]).exit_code == 0
    assert load(path).train.epochs == 3


def test_it_looks_at_the_data_and_names_files_from_the_configs_folder(here: Path) -> None:
    (here / "tasks" / "rows").mkdir(parents=True)
    for split in ("train", "test"):
        (here / "tasks" / "rows" / f"{split}.csv").write_text("message,category\nleak,water\n")
    result = CliRunner().invoke(main, ["init", "tasks/my", "--data", "tasks/rows/train.csv", "--json"])
    assert json.loads(result.stdout) == {
        "config": "tasks/my.toml",
        "guessed": {
            "data.train": "rows/train.csv",
            "data.text": "message",
            "data.label": "category",
            "data.test": "rows/test.csv",
        },
    }
    config = load(here / "tasks" / "my.toml", require_files=False)
    assert config.data.test == str(here / "tasks" / "rows" / "test.csv")
    assert (config.data.text, config.data.label) == ("message", "category")


def test_nothing_is_written_when_the_data_can_not_be_read(here: Path) -> None:
    result = CliRunner().invoke(main, ["init", "my", "--data", "gone.csv"])
    assert (result.exit_code, result.stderr) == (1, "Error: gone.csv: no such file\n")
    assert list(here.iterdir()) == []


def test_a_misspelled_file_of_rows_is_answered_with_the_nearest(here: Path) -> None:
    (here / "train.csv").write_text("text,label\nleak,water\n")
    result = CliRunner().invoke(main, ["init", "my", "--data", "trian.csv"])
    assert result.stderr == 'Error: trian.csv: no such file; did you mean "train.csv"?\n'


@pytest.mark.parametrize("name", ["", ".toml", "tasks/", "a\nb"])
def test_a_name_that_is_none_is_refused(name: str, here: Path) -> None:
    assert CliRunner().invoke(main, ["init", name]).exit_code == 2
    assert list(here.iterdir()) == []
