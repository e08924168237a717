from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from learnable_task import Task


@pytest.fixture
def task(tiny_model: Callable[..., Any], tokenizer: Any, tmp_path: Path) -> Task:
    """A training of a tiny model that has not begun yet."""
    return Task(tiny_model, tokenizer, tmp_path)
