"""A thousand adapters in one process: what they take in memory, how fast they come, and swaps under load.

    python benchmarks/thousand.py BUNDLE                   # a swappable bundle; 4 minutes (--quick: 1)
    python benchmarks/thousand.py BUNDLE --http            # the swaps over HTTP, to a `svfit serve` of its own

- memory: resident size of a fresh process with 1,000 adapters in memory, less that with one (aim: 50 MB)
- activation: pinning one that is in memory, p99 (aim: 1 ms); one that waits on disk, and adding one from its two files,
  p99 (aim: 20 ms)
- swaps: four threads ask through the scheduler while a fifth adds versions, rolls back and sets defaults, 1,000 times;
  every answer is held to what the version that it names must say. Wrong or failed answers (aim: none), p99 over p99
  without swaps, the median of rounds that take turns (aim: 1.2)

One CPU thread for each of two workers. Keeps benchmarks/results/thousand.json, or thousand-http.json.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from common import memory_mb, percentile, small_adapters, texts, versions
from thousand_load import Library, Web, under_load
from web import serving

from serve.batching.scheduler import Scheduler
from serve.files import write_json
from serve.machine import describe
from serve.runtime import Runtime

COUNT = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--variant", default="fp32")
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0, help="of a round")
    parser.add_argument("--http", action="store_true", help="only the swaps, and over HTTP")
    parser.add_argument("--quick", action="store_true", help="100 adapters, 2 rounds of 4 seconds; keeps nothing")
    parser.add_argument("--resident", type=int, help="(the script's own) print the resident MB with so many in memory")
    parser.add_argument("--state", type=Path)
    options = parser.parse_args()
    if options.resident is not None:
        print(resident(options.bundle, options.state, options.variant, options.resident))
        return
    if options.quick:
        options.count, options.rounds, options.seconds = 100, 2, 4.0
    result: dict[str, Any] = {
        "variant": options.variant,
        "adapters": options.count,
        "machine": describe(),
        "versions": versions("onnxruntime", "numpy"),
    }
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "state"
        result |= over_http(options, state) if options.http else in_process(options, state)
    for key, value in result.items():
        if key not in ("machine", "versions"):
            print(f"{key:<28}{value}")
    if not options.quick:
        name = "thousand-http" if options.http else "thousand"
        write_json(Path(__file__).parent / "results" / f"{name}.json", result)


def in_process(options: argparse.Namespace, state: Path) -> dict[str, Any]:
    def opened() -> Runtime:
        return Runtime(options.bundle, state=state, variant=options.variant, threads=1)

    with opened() as runtime:
        result: dict[str, Any] = coming(runtime, options.count)
    with opened() as runtime:
        result |= pinning(runtime, options.count)
    result |= memory(options, state)
    with opened() as runtime, Scheduler(runtime, workers=2) as scheduler:
        door = Library(runtime, scheduler)
        return result | under_load(runtime, door, options.count, options.rounds, options.seconds)


def over_http(options: argparse.Namespace, state: Path) -> dict[str, Any]:
    """The same load on a server; the runtime here, with a state of its own, only says what it must answer."""
    extra = ["--state", str(state), "--variant", options.variant, "--threads", "1", "--set", "workers=2"]
    with (
        serving(options.bundle, *extra) as (url, _),
        Runtime(options.bundle, state=state.with_name("expected"), variant=options.variant, threads=1) as runtime,
    ):
        return under_load(runtime, Web(url), options.count, options.rounds, options.seconds)


def coming(runtime: Runtime, count: int) -> dict[str, float]:
    """Add them all, each from the bytes of its two files."""
    taken = [
        timed(lambda number=number, files=files: runtime.add(files, f"task-{number}"))
        for number, files in enumerate(small_adapters(runtime.bundle, count))
    ]
    return {"add_p50_ms": percentile(taken, 50), "add_p99_ms": percentile(taken, 99)}


def pinning(runtime: Runtime, count: int) -> dict[str, float]:
    """Pin each where it waits on disk, then any in memory."""
    disk = [timed(lambda number=number: runtime.pin(f"task-{number}")) for number in range(count)]
    chosen = np.random.default_rng(0).integers(0, count, 5 * count)
    held = [timed(lambda number=number: runtime.pin(f"task-{number}")) for number in chosen]
    return {
        "from_disk_p50_ms": percentile(disk, 50),
        "from_disk_p99_ms": percentile(disk, 99),
        "activate_p50_ms": percentile(held, 50),
        "activate_p99_ms": percentile(held, 99),
    }


def timed(work: Callable[[], object]) -> float:
    """Seconds."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def memory(options: argparse.Namespace, state: Path) -> dict[str, float]:
    """Resident MB of two fresh processes after the same answers."""
    sizes = []
    for count in (1, options.count):
        command = [sys.executable, __file__, str(options.bundle), "--variant", options.variant]
        command += ["--resident", str(count), "--state", str(state)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        sizes.append(float(done.stdout))
    return {"resident_one_mb": sizes[0], "resident_all_mb": sizes[1], "more_mb": round(sizes[1] - sizes[0], 1)}


def resident(bundle: Path, state: Path, variant: str, count: int) -> float:
    with Runtime(bundle, state=state, variant=variant, threads=1) as runtime:
        held = [runtime.pin(f"task-{number}") for number in range(count)]
        runtime.predict(texts(64), held[0], batch_size=16)
        return memory_mb()


if __name__ == "__main__":
    main()
