"""A task on a tiny base model, for comparisons that really train."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_base import save_base
from tiny_task import write_task


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Path:
    return save_base(tmp_path_factory.mktemp("base"), tokenizer)


@pytest.fixture
def toml(tmp_path: Path, base: Path) -> Path:
    """wet-or-dry.toml with its rows, 2 epochs."""
    path = write_task(tmp_path, base)
    path.write_text(path.read_text().replace("epochs = 12", 'epochs = 2\ndevice = "cpu"'))
    return path
