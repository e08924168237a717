"""The documentation's commands, configurations, code and links hold."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from markdown_parts import Block, blocks, check, commands, inline_commands, links
from tiny_bundle import make_bundle
from tiny_swap import make_swap_bundle

from pipeline.cli.table import COMMANDS
from pipeline.config import load

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
PAGES = [
    *(ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted(path for folder in ("docs", "benchmarks", "examples") for path in (ROOT / folder).rglob("*.md")),
]
PYTHON = blocks(README, "python")

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


def place(block: Block) -> str:
    return f"README.md:{block.line}"


@every_page
def test_commands_exist_with_their_options(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = page.read_text("utf-8")
    for block in blocks(text, "sh", "console"):
        for arguments in commands(block.text):
            check(arguments)
    for arguments in inline_commands(text):
        check(arguments, whole=False)


def test_the_makefiles_commands_exist_with_their_options() -> None:
    found = commands((ROOT / "Makefile").read_text("utf-8").replace("$(BIN)/", "").replace("\t", ""))
    assert [arguments[0] for arguments in found] == ["run", "predict"]
    for arguments in found:
        check(arguments)


@every_page
def test_make_has_the_targets_that_are_named(page: Path) -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    for block in blocks(page.read_text("utf-8"), "sh", "console"):
        for arguments in commands(block.text, "make"):
            assert arguments[0] in targets


@pytest.mark.parametrize("block", blocks(README, "toml"), ids=place)
def test_a_configuration_loads(block: Block, tmp_path: Path) -> None:
    path = tmp_path / "my-task.toml"
    path.write_text(block.text, encoding="utf-8")
    data = tomllib.loads(block.text)["data"]
    for split in ("train", "validation", "test"):
        if split in data:
            (tmp_path / data[split]).touch()
    assert load(path, require_files=True).name == "my-task"


@pytest.mark.parametrize("block", PYTHON, ids=place)
def test_python_compiles(block: Block) -> None:
    compile(block.text, place(block), "exec")


@pytest.mark.parametrize("block", [block for block in PYTHON if block.run], ids=place)
def test_python_that_says_so_runs_beside_bundles(block: Block, tmp_path: Path) -> None:
    make_bundle(tmp_path / "bundle")
    make_swap_bundle(tmp_path / "site.bundle")
    done = subprocess.run(
        [sys.executable, "-c", block.text], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@every_page
def test_links_lead_to_files_of_the_repository(page: Path) -> None:
    targets = [(page.parent / link).resolve() for link in links(page.read_text("utf-8"))]
    assert [str(target) for target in targets if not target.exists() or not target.is_relative_to(ROOT)] == []


def test_every_command_is_named() -> None:
    told = README + (ROOT / "docs" / "COMMANDS.md").read_text("utf-8")
    assert [name for name in COMMANDS if f"svfit {name}" not in told] == []
