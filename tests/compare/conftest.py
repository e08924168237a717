"""A task on a tiny base model, for comparisons that really train."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_task import write_task


@pytest.fixture
def toml(tmp_path: Path, base: Path) -> Path:
    """wet-or-dry.toml with its rows, 2 epochs."""
    path = write_task(tmp_path, base)
    path.write_text(path.read_text().replace("epochs = 12", 'epochs = 2\ndevice = "cpu"'))
    return path
