"""docs/COMMANDS.md is what the commands say of themselves."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.cli.pages import pages
from pipeline.cli.table import COMMANDS

PAGE = Path(__file__).parents[2] / "docs" / "COMMANDS.md"


def test_every_command_has_a_heading_nested_ones_too() -> None:
    headings = [line.removeprefix("## ") for line in pages().splitlines() if line.startswith("## ")]
    of_adapter = ("add", "default", "export-native", "list", "remove", "rename", "rollback", "show", "to-lora")
    nested = {f"svfit adapter {name}" for name in of_adapter}
    nested |= {"svfit keys new", "svfit keys show"}
    assert set(headings) == {"svfit", *(f"svfit {name}" for name in COMMANDS), *nested}
    assert len(headings) == len(set(headings))


def test_no_short_help_is_cut_and_no_line_is_wide() -> None:
    several = r"(\[ARGS\]|\[TEXT\]|FILE)\.\.\.\n"  # arguments that may be repeated end so
    assert "...\n" not in re.sub(several, "", pages())
    assert max(map(len, pages().splitlines())) <= 120


@pytest.mark.parametrize("columns", ["40", "300"])
def test_the_page_is_as_a_process_of_its_own_generates_it_on_any_terminal(columns: str) -> None:
    """Of its own, as click keeps a command's help option from whoever made it first: here, any other test."""
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.cli.pages"],
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        env={**os.environ, "COLUMNS": columns, "PYTHONIOENCODING": "utf-8"},
        check=True,
    )
    assert done.stdout == PAGE.read_text("utf-8"), "run: make docs"
