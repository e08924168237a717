"""A run on a tiny encoder, made once, that every test of updates may copy and go on from."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tiny_task import Finished, svfit, write_task


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Finished:
    """`svfit finetune` once: plumbing and electrical, 200 rows."""
    folder = tmp_path_factory.mktemp("trained")
    config = write_task(folder, base)
    result = svfit("finetune", config, "--output", folder / "run", "--debug")
    assert result.exit_code == 0, result.stderr
    return Finished(config, folder / "run", result.stdout, result.stderr)


@pytest.fixture
def run(trained: Finished, tmp_path: Path) -> Path:
    """A copy of that run's folder, called `tickets`; its rows stay where they are."""
    return Path(shutil.copytree(trained.folder, tmp_path / "tickets"))
