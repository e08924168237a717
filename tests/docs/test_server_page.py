"""docs/SERVER.md is as generated, and names every setting."""

from __future__ import annotations

from pathlib import Path

from pipeline.cli.server_page import page
from serve.config import KEYS

PAGE = Path(__file__).parents[2] / "docs" / "SERVER.md"


def test_the_page_is_as_generated() -> None:
    assert PAGE.read_text("utf-8") == page(), "run: make docs"


def test_every_setting_is_told() -> None:
    assert [name for name in KEYS if f"| `{name}` |" not in page()] == []
