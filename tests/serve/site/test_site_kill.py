"""Whatever moment the process dies at, a site opens on the old release or the new one, whole."""

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
import site_child
from tiny_swap import make_adapter, make_swap_bundle

from serve.delivery.archive import pack

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks the processes that it kills")

STRIDE = 7  # steps on the file system from one kill to the next; every one takes minutes
KILLS = 12
CASES = ("install", "install and remove", "roll back")


@pytest.fixture(scope="module")
def told() -> Iterator[dict[str, Any]]:
    """What became of every kill. The site is in memory where it can be: a kill is no loss of power."""
    memory = Path("/dev/shm")  # noqa: S108
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as name:
        folder = Path(name)
        make_swap_bundle(folder / "one")
        make_swap_bundle(folder / "two", (("alpha", 5), ("beta", 2)))
        make_adapter(folder / "later", 11)
        for bundle in ("one", "two"):
            pack(folder / bundle, folder / f"{bundle}.zip")
        done = subprocess.run(
            [sys.executable, site_child.__file__, str(folder), str(STRIDE), str(KILLS)],
            cwd=Path(__file__).parents[3],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        yield json.loads(done.stdout)


@pytest.mark.parametrize("case", CASES)
def test_killed_at_any_step_the_old_or_the_new_release_is_there_whole(told: dict[str, Any], case: str) -> None:
    result = told[case]
    assert result["kills"] >= 5
    assert result["before"] > 0
    assert result["before"] + result["after"] == result["kills"]


def test_kills_fell_after_the_switch_too(told: dict[str, Any]) -> None:
    assert all(told[case]["after"] > 0 for case in ("install and remove", "roll back"))  # an install's last two steps


def test_killed_at_random_times_the_next_goes_on_with_what_is_there(told: dict[str, Any]) -> None:
    result = told["at random"]
    assert result["one"] + result["two"] == result["kills"] == KILLS
