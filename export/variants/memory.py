"""What a graph takes of memory, measured in a process of its own, which holds nothing else.

python -m export.variants.memory GRAPH FEEDS.safetensors...
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file

from serve.errors import InputError
from serve.machine import kilobytes, read_text
from serve.session import load, session_options
from serve.settings import SINGLE

Feeds = Mapping[str, npt.NDArray[np.int64]]
TIMEOUT = 300.0
"""Seconds; loading and a few batches take less than one."""


def memory(graph: Path, *batches: Feeds) -> dict[str, int]:
    """Bytes resident in a process that loads `graph` and answers `batches`, one thread.

    `before_bytes` with onnxruntime imported, `loaded_bytes` with the graph loaded (both on Linux only), and
    `peak_bytes`, the most at any moment. Raises InputError where the graph can't be loaded or run.
    """
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{place}.safetensors" for place in range(len(batches))]
        for file, feeds in zip(files, batches, strict=True):
            save_file({name: np.ascontiguousarray(value) for name, value in feeds.items()}, file)
        command = [sys.executable, "-m", "export.variants.memory", str(graph.resolve()), *map(str, files)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)  # noqa: S603
        except subprocess.TimeoutExpired:
            raise InputError(f"{graph}: took more than {TIMEOUT:g} s to load and answer a few rows") from None
    if done.returncode:
        told = done.stderr.strip().splitlines()
        raise InputError(f"{graph}: its memory can't be measured ({told[-1] if told else done.returncode})")
    found: dict[str, int] = json.loads(done.stdout)
    return found


def _here(graph: Path, files: list[Path]) -> dict[str, int]:
    batches = [load_file(file) for file in files]
    options = session_options(SINGLE)
    before = _status("VmRSS")
    session: Any = load(graph, options)
    loaded = _status("VmRSS")
    for feeds in batches:
        session.run(None, feeds)
    if before is None or loaded is None:
        return {"peak_bytes": _peak()}
    return {"before_bytes": before, "loaded_bytes": loaded, "peak_bytes": _status("VmHWM") or _peak()}


def _status(key: str) -> int | None:
    """A size that Linux tells of this process, in bytes."""
    return kilobytes(read_text("/proc/self/status"), key)


def _peak() -> int:
    """The most that was resident. Linux counts in what the parent had when it forked, so it is asked by `_status`."""
    import resource  # here, as Windows has none

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_here(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])))
