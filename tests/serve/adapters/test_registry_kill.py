from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import registry_child
from tiny_swap import make_adapter, make_swap_bundle

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks the processes that it kills")

STRIDE = 17  # lines from one kill to the next; every line takes a minute
CASES = (
    "first add",
    "add",
    "add a version",
    "remove",
    "remove a version",
    "remove a sealed one",
    "rename",
    "set the default",
    "roll back",
)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What became of every kill. The state is in memory where it can be: a kill is no loss of power."""
    memory = Path("/dev/shm")  # noqa: S108
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as name:
        folder = Path(name)
        make_swap_bundle(folder / "bundle")
        paths = [folder / "bundle", make_adapter(folder / "one", 11), make_adapter(folder / "two", 12), folder]
        done = subprocess.run(
            [sys.executable, registry_child.__file__, *map(str, paths), str(STRIDE)],
            cwd=Path(__file__).parents[3],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        yield json.loads(done.stdout)


@pytest.mark.parametrize("case", CASES)
def test_killed_at_any_line_it_has_happened_or_not(told: dict[str, Any], case: str) -> None:
    result = told[case]
    assert result["kills"] >= 15
    assert result["before"] > 0
    assert result["before"] + result["after"] == result["kills"]


def test_kills_fell_after_the_change_too(told: dict[str, Any]) -> None:
    assert sum(told[case]["after"] for case in CASES) > 0


def test_killed_at_random_times_the_next_goes_on_with_what_is_there(told: dict[str, Any]) -> None:
    assert told["at random"]["kills"] >= 20
