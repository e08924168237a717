"""A folder of the wrong kind is answered with the right one."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.cli import main


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """What a run leaves, as far as a look at the names goes."""
    for file in ("config.json", "adapter/adapter.json", "bundle/manifest.json"):
        path = tmp_path / "run" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    return tmp_path / "run"


def test_inspect_of_a_runs_folder_names_what_is_inside(run_folder: Path) -> None:
    result = CliRunner().invoke(main, ["inspect", str(run_folder)])
    assert result.exit_code == 2
    assert result.stderr == (
        f"Error: {run_folder} is a run's folder; inspect one of: {run_folder / 'adapter'}, {run_folder / 'bundle'}\n"
    )


def test_inspect_of_a_file_asks_no_hub(run_folder: Path) -> None:
    result = CliRunner().invoke(main, ["inspect", str(run_folder / "config.json")])
    assert result.exit_code == 2
    assert "config.json is a file; inspect takes a folder" in result.stderr


def test_inspect_names_its_argument_and_options_and_no_configuration_keys(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["inspect", "pypi:no-such-package"])
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: the package 'no-such-package' is not installed here")


def test_to_lora_of_a_runs_folder_names_its_adapter(run_folder: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["adapter", "to-lora", str(run_folder), str(tmp_path / "lora")])
    assert result.exit_code == 2
    assert f"its adapter is {run_folder / 'adapter'}" in result.stderr
    assert not (tmp_path / "lora").exists()


def test_predict_and_verify_of_a_runs_folder_name_its_bundle(run_folder: Path) -> None:
    for arguments in (["predict", str(run_folder), "a text"], ["verify", str(run_folder)]):
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 1
        assert result.stderr.endswith(f"a run's folder; its bundle is {run_folder / 'bundle'}\n")
