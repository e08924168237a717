"""What a command imports before its first answer: on a device, each package is time and memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_bundle import make_bundle

from pipeline.cli.output import counter

SPARED = ("rich", "pygments", "fastapi", "starlette", "uvicorn", "pydantic", "asyncio", "ssl", "cryptography", "psutil")
PROBE = f"""
import json, sys
from pipeline.cli import main
try:
    main(json.loads(sys.argv[1]), prog_name="svfit")
finally:
    sys.stderr.write("IMPORTED " + json.dumps([name for name in {SPARED!r} if name in sys.modules]))
"""


def test_an_answer_to_a_pipe_imports_neither_rich_nor_the_server(tmp_path: Path) -> None:
    arguments = ["predict", str(make_bundle(tmp_path / "bundle")), "the pump is leaking"]
    done = subprocess.run(
        [sys.executable, "-c", PROBE, json.dumps(arguments)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["text"] == "the pump is leaking"
    assert json.loads(done.stderr.partition("IMPORTED ")[2]) == []


def test_a_counter_shows_rows_on_a_terminal_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with counter("rows") as count:
        count(3)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with counter("rows") as count:
        count(3)
    assert "3/?" in capsys.readouterr().err
