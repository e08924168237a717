"""What the benchmarks of serving share: real texts, many adapters made from one, and turns."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load, save

from serve.bundle import Bundle

TEXTS = Path(__file__).parents[2] / "shared" / "data" / "text" / "banking77" / "test.csv"
LABELS = tuple(f"label {place}" for place in range(4))  # of a small task
Files = tuple[bytes, bytes]


def texts(count: int) -> list[str]:
    """The first test texts of banking77."""
    with TEXTS.open(encoding="utf-8") as file:
        return [row["text"] for _, row in zip(range(count), csv.DictReader(file), strict=False)]


def small_adapters(bundle: Bundle, count: int) -> Iterator[Files]:
    """Adapters of small tasks, each its own: the first sealed one with all it learned shaken, its head cut to 4 labels.

    Every direction that the graph carries moves, so none is cheaper than a trained one.
    """
    swap = bundle.manifest.swap
    if swap is None:
        raise SystemExit(f"{bundle.path}: is merged; make one with --set export.mode=swappable")
    folder = bundle.path / "adapters" / swap.adapters[0]
    document = json.loads((folder / "adapter.json").read_text("utf-8"))
    document["card"]["labels"] = list(LABELS)
    tensors = load((folder / "adapter.safetensors").read_bytes())
    free = {
        f"module.{weight.name}": weight.shape.index("classes")
        for weight in swap.heads[0].weights
        if "classes" in weight.shape
    }
    for seed in range(count):
        random = np.random.default_rng(seed)
        own = dict(tensors)
        for name, value in sorted(tensors.items()):  # load gives them in another order each time
            if name.startswith("delta."):
                own[name] = (value * random.uniform(0.8, 1.2, value.shape)).astype(np.float32)
            elif name in free:
                cut = np.take(value, range(len(LABELS)), axis=free[name])
                own[name] = (cut + random.normal(0, 0.05, cut.shape)).astype(np.float32)
        document["card"]["name"] = f"task-{seed}"
        yield json.dumps(document).encode(), save(own)


def turns(works: Mapping[str, Callable[[], object]], repeats: int, warm_up: int = 5) -> dict[str, list[float]]:
    """Seconds of each work, all taking turns, so that a slow moment of the machine meets all of them."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(warm_up + repeats):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            if turn >= warm_up:
                taken[name].append(time.perf_counter() - start)
    return taken


def numbers(
    taken: Mapping[str, list[list[float]]],
    rows: int,
    against: str,
    rates: Mapping[str, list[float]] | None = None,
) -> dict[str, dict[str, Any]]:
    """By side, from the seconds of its requests (`rows` each) in each round: rows a second, the median of the rounds
    and their range; its ratio to `against`, the median of the rounds' own; p50 and p99 of a request in ms.

    `rates` are rows a second of each round, where requests overlapped.
    """
    rates = rates or {
        side: [rows * len(seconds) / sum(seconds) for seconds in rounds] for side, rounds in taken.items()
    }
    return {
        side: {
            "rows_s": round(float(np.median(rates[side])), 1),
            "rows_s_range": [round(min(rates[side]), 1), round(max(rates[side]), 1)],
            "ratio": round(float(np.median(np.divide(rates[side], rates[against]))), 3),
            "p50_ms": percentile([one for seconds in rounds for one in seconds], 50),
            "p99_ms": percentile([one for seconds in rounds for one in seconds], 99),
            "requests": sum(map(len, rounds)),
        }
        for side, rounds in taken.items()
    }


def percentile(seconds: Sequence[float], share: float) -> float:
    """In ms."""
    return round(1000 * float(np.percentile(seconds, share)), 3)


def versions(*packages: str) -> dict[str, str]:
    return {package: version(package) for package in packages}


def memory_mb(process: int | None = None) -> float:
    """Resident MB of this process; or of another with all its children, pages that they share counted once."""
    if process is None:
        return round(_kilobytes(Path("/proc/self/status"), "VmRSS") / 1024, 1)
    tasks = Path(f"/proc/{process}/task").glob("*/children")
    children = [int(child) for path in tasks for child in path.read_text().split()]
    own = _kilobytes(Path(f"/proc/{process}/smaps_rollup"), "Pss") / 1024
    return round(own + sum(memory_mb(child) for child in children), 1)


def _kilobytes(path: Path, key: str) -> int:
    return next(int(line.split()[1]) for line in path.read_text().splitlines() if line.startswith(f"{key}:"))
