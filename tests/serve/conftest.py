from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

from tiny_bundle import make_bundle


@pytest.fixture
def bundle_path(tmp_path: Path) -> Path:
    """A classification bundle of its own for each test."""
    return make_bundle(tmp_path / "bundle")
