"""One finished run that tests may copy."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_task import Finished, svfit, write_task


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Finished:
    """`svfit run` once for all tests that only look at what it left."""
    folder = tmp_path_factory.mktemp("finished")
    config = write_task(folder, base)
    result = svfit("run", config, "--output", folder / "run", "--debug")
    assert result.exit_code == 0, result.stderr
    return Finished(config, folder / "run", result.stdout, result.stderr)
