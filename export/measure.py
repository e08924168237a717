"""How fast a graph answers on this machine: latency of single rows and throughput of batches."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from serve.errors import InputError
from serve.session import load, session_options
from serve.settings import Settings

BATCH = 16
Feeds = Mapping[str, npt.NDArray[Any]]


def measure(
    files: Mapping[str, Path],
    single: Feeds,
    batch: Feeds,
    *,
    threads: int = 1,
    repeats: int = 100,
    warm_up: int = 5,
) -> dict[str, dict[str, Any]]:
    """Measure several graphs on the same inputs, by name.

    `single` holds one encoded row and `batch` several of the same length, batch first. After
    `warm_up` runs, each of `repeats` rounds times every graph once on `single`, and each of `repeats // 5 + 1`
    rounds once on `batch`: the graphs take turns, so that a slow moment of the machine meets all of them.

    Returns, for each name, what JSON takes: `batch` (1), `tokens` (of a text), `threads`, `p50_ms` and `p99_ms` of
    one row, `throughput` (rows a second, from the median batch) and `throughput_batch`. Raises InputError where
    there is nothing to measure.
    """
    if not files or repeats < 1 or threads < 1:
        raise InputError("measure: needs at least one graph, one repeat and one thread")
    sessions = {name: load(path, session_options(Settings(threads))) for name, path in files.items()}
    alone = _rounds(sessions, single, repeats, warm_up)
    together = _rounds(sessions, batch, repeats // 5 + 1, warm_up)
    rows, first = len(next(iter(batch.values()))), next(iter(single.values()))
    return {
        name: {
            "batch": 1,
            **({"tokens": int(first.shape[1])} if first.ndim == 2 else {}),
            "threads": threads,
            "p50_ms": round(1000 * float(np.percentile(alone[name], 50)), 3),
            "p99_ms": round(1000 * float(np.percentile(alone[name], 99)), 3),
            "throughput": round(rows / float(np.median(together[name])), 1),
            "throughput_batch": rows,
        }
        for name in files
    }


def repeat_row(feeds: Feeds, rows: int = BATCH) -> dict[str, npt.NDArray[Any]]:
    """A batch of `rows` copies of the first row of `feeds`."""
    return {name: np.repeat(value[:1], rows, axis=0) for name, value in feeds.items()}


def _rounds(sessions: Mapping[str, Any], feeds: Feeds, repeats: int, warm_up: int) -> dict[str, list[float]]:
    for session in sessions.values():
        for _ in range(warm_up):
            session.run(None, dict(feeds))
    seconds: dict[str, list[float]] = {name: [] for name in sessions}
    for _ in range(repeats):
        for name, session in sessions.items():
            start = time.perf_counter()
            session.run(None, dict(feeds))
            seconds[name].append(time.perf_counter() - start)
    return seconds
