"""What the benchmarks of serving share: real texts, many adapters made from one, and turns."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import load, save

from serve.bundle import Bundle

TEXTS = Path(__file__).parents[2] / "shared" / "data" / "text" / "banking77" / "test.csv"
SMALL = 4  # labels of a small task
Files = tuple[bytes, bytes]


def texts(count: int) -> list[str]:
    """The first test texts of banking77."""
    with TEXTS.open(encoding="utf-8") as file:
        return [row["text"] for _, row in zip(range(count), csv.DictReader(file), strict=False)]


def small_adapters(bundle: Bundle, count: int) -> list[Files]:
    """Adapters of small tasks, each its own: the first sealed one with all it learned shaken, its head cut to 4 labels.

    Every direction that the graph carries moves, so none is cheaper than a trained one.
    """
    swap = bundle.manifest.swap
    if swap is None:
        raise SystemExit(f"{bundle.path}: is merged; make one with --set export.mode=swappable")
    folder = bundle.path / "adapters" / swap.adapters[0]
    document = json.loads((folder / "adapter.json").read_text("utf-8"))
    document["card"]["labels"] = [f"label {place}" for place in range(SMALL)]
    tensors = load((folder / "adapter.safetensors").read_bytes())
    free = {
        f"module.{weight.name}": weight.shape.index("classes")
        for weight in swap.heads[0].weights
        if "classes" in weight.shape
    }
    made = []
    for seed in range(count):
        random = np.random.default_rng(seed)
        own = dict(tensors)
        for name, value in tensors.items():
            if name.startswith("delta."):
                own[name] = (value * random.uniform(0.8, 1.2, value.shape)).astype(np.float32)
            elif name in free:
                cut = np.take(value, range(SMALL), axis=free[name])
                own[name] = (cut + random.normal(0, 0.05, cut.shape)).astype(np.float32)
        document["card"]["name"] = f"task-{seed}"
        made.append((json.dumps(document).encode(), save(own)))
    return made


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
