"""`svfit serve` as a process of its own, for tests with real clients."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.cli import __file__ as _cli

ROOT = Path(_cli).parents[2]
STOP_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server answers: `url` of HTTP, `grpc` as host:port or None."""

    url: str
    grpc: str | None
    process: subprocess.Popen[str]

    @property
    def http(self) -> str:
        """host:port of HTTP."""
        return self.url.partition("://")[2]


@contextlib.contextmanager
def serving(bundle: Path, *options: str, environment: Mapping[str, str] | None = None) -> Iterator[Address]:
    """Serve a bundle on a free port until the block ends; then SIGTERM, which must end it with 0.

    `options` go to `svfit serve`. Its log is shown where it fails.
    """
    command = [sys.executable, "-c", "from pipeline.cli import main; main()", "serve", str(bundle)]
    settings = {**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})}
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            [*command, "--port", "0", "--json", *options],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=ROOT,
            env=settings,
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, _told(log)
            started = json.loads(line)
            yield Address(started["url"], started["grpc"], process)
            process.send_signal(signal.SIGTERM)
            assert process.wait(STOP_SECONDS) == 0, _told(log)
        finally:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


def _told(log: object) -> str:
    log.seek(0)  # type: ignore[attr-defined]
    return f"the server said:\n{log.read()}"  # type: ignore[attr-defined]
