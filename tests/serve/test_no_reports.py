"""Nothing tells anybody that svfit runs: onnxruntime's reports are off, unless a person turns them on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HOME = ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "TMPDIR")


def run(code: str, home: Path, **more: str) -> str:
    """What the code prints, run in a home of its own and without what this process set."""
    kept = {key: value for key, value in os.environ.items() if key not in (*HOME, "ORT_DISABLE_TELEMETRY")}
    environment = kept | {"HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"} | more
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.mark.parametrize("package", ["serve", "export", "pipeline", "serve.session", "export.int8", "pipeline.cli"])
def test_onnxruntimes_reports_are_off_wherever_one_comes_in(tmp_path: Path, package: str) -> None:
    assert run(f"import {package}, os; print(os.environ['ORT_DISABLE_TELEMETRY'])", tmp_path) == "1"


def test_whoever_wants_them_says_so(tmp_path: Path) -> None:
    code = "import serve, os; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    assert run(code, tmp_path, ORT_DISABLE_TELEMETRY="0") == "0"


def test_an_answer_leaves_nothing_in_a_persons_home(tmp_path: Path, bundle_path: Path) -> None:
    # onnxruntime keeps an identity of the device and a queue of reports in ~/.cache/Microsoft
    home = tmp_path / "home"
    home.mkdir()
    code = f"from serve.predictor import Predictor; print(len(Predictor({str(bundle_path)!r}).predict(['a pump'])))"
    assert run(code, home) == "1"
    assert list(home.iterdir()) == []
