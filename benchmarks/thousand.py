"""A thousand adapters in one process: what they take in memory, how fast they come, and swaps under load.

    python benchmarks/thousand.py BUNDLE                   # a swappable bundle; 3 minutes

- memory: resident size of a fresh process with 1,000 adapters in memory, less that with one (aim: 50 MB)
- activation: pinning one that is in memory, p99 (aim: 1 ms); adding one from its two files, p99 (aim: 20 ms)
- swaps: four threads ask through the scheduler while a fifth adds, points back and removes versions; every answer is
  held to what the version that it names must say. Wrong or failed answers (aim: none), p99 over p99 without (aim: 1.2)

Keeps benchmarks/results/thousand.json.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import small_adapters, texts

from serve.batching.scheduler import Scheduler
from serve.errors import NotFound
from serve.files import write_json
from serve.machine import describe
from serve.runtime import Runtime

COUNT, CLIENTS, SWAPPED = 1000, 4, 20
PAUSE = 0.04  # seconds between swaps: some twenty a second


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--variant", default="fp32")
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--resident", type=int, help="(the script's own) print the resident MB with so many in memory")
    parser.add_argument("--state", type=Path)
    options = parser.parse_args()
    if options.resident is not None:
        print(resident(options.bundle, options.state, options.variant, options.resident))
        return
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "state"
        result: dict[str, Any] = {"variant": options.variant, "adapters": options.count, "machine": describe()}
        with Runtime(options.bundle, state=state, variant=options.variant, threads=1) as runtime:
            result |= coming(runtime, options.count)
        result |= memory(options, state)
        with Runtime(options.bundle, state=state, variant=options.variant, threads=1) as runtime:
            result |= under_load(runtime, options.count)
    write_json(Path(__file__).parent / "results" / "thousand.json", result)
    for key, value in result.items():
        if key != "machine":
            print(f"{key:<28}{value}")


def coming(runtime: Runtime, count: int) -> dict[str, float]:
    """Add them all, then pin each: first from disk where it was left, then in memory."""
    adding, pinning = [], []
    for number, files in enumerate(small_adapters(runtime.bundle, count)):
        start = time.perf_counter()
        runtime.add(files, f"task-{number}")
        adding.append(time.perf_counter() - start)
    for number in range(count):
        runtime.pin(f"task-{number}")
    for number in np.random.default_rng(0).integers(0, count, 5 * count):
        start = time.perf_counter()
        runtime.pin(f"task-{number}")
        pinning.append(time.perf_counter() - start)
    return {
        "add_p50_ms": percentile(adding, 50),
        "add_p99_ms": percentile(adding, 99),
        "activate_p50_ms": percentile(pinning, 50),
        "activate_p99_ms": percentile(pinning, 99),
    }


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
        status = Path("/proc/self/status").read_text()
        (line,) = [line for line in status.splitlines() if line.startswith("VmRSS:")]
        return round(int(line.split()[1]) / 1024, 1)


def under_load(runtime: Runtime, count: int) -> dict[str, Any]:
    """Latency without swaps, then with `count` of them, and what each answer had to be."""
    rows = texts(16)
    versions = list(small_adapters(runtime.bundle, 2 * SWAPPED))  # each name has two contents, which take turns
    wanted: dict[str, list[np.ndarray]] = {}
    names = [f"swapped-{number}" for number in range(SWAPPED)]
    for number, name in enumerate(names):
        runtime.add(versions[2 * number], name)
    contents = [[expected(runtime, versions[2 * number + turn], rows) for turn in (0, 1)] for number in range(SWAPPED)]
    for number, name in enumerate(names):
        wanted[f"{name}@1"] = contents[number][0]
    with Scheduler(runtime, workers=2) as scheduler:
        quiet = load_for(runtime, scheduler, names, rows, wanted, seconds=20.0)
        stop = threading.Event()
        swaps = 0

        def swap() -> None:
            nonlocal swaps
            for turn in itertools.count(1):
                for number, name in enumerate(names):
                    if stop.is_set():
                        return
                    wanted[f"{name}@{turn + 1}"] = contents[number][turn % 2]
                    runtime.add(versions[2 * number + turn % 2], name)
                    swaps += 1
                    if turn > 2:
                        runtime.remove(f"{name}@{turn - 2}")
                        swaps += 1
                    time.sleep(PAUSE)

        swapper = threading.Thread(target=swap)
        swapper.start()
        busy = load_for(runtime, scheduler, names, rows, wanted, seconds=20.0, until=lambda: swaps >= count)
        stop.set()
        swapper.join()
    return {
        "swaps": swaps,
        "answers": busy["answers"],
        "wrong": quiet["wrong"] + busy["wrong"],
        "failed": quiet["failed"] + busy["failed"],
        "p99_quiet_ms": percentile(quiet["seconds"], 99),
        "p99_swapping_ms": percentile(busy["seconds"], 99),
        "p99_ratio": round(percentile(busy["seconds"], 99) / percentile(quiet["seconds"], 99), 3),
        "p50_ratio": round(percentile(busy["seconds"], 50) / percentile(quiet["seconds"], 50), 3),
    }


def expected(runtime: Runtime, files: tuple[bytes, bytes], rows: list[str]) -> list[np.ndarray]:
    """What an adapter answers for each row alone, under a name that nobody else asks for."""
    runtime.add(files, "expected")
    pinned = runtime.pin("expected")
    return [runtime.run([runtime.encode(row, pinned)], [pinned])[0] for row in rows]


def load_for(
    runtime: Runtime,
    scheduler: Scheduler,
    names: list[str],
    rows: list[str],
    wanted: dict[str, list[np.ndarray]],
    *,
    seconds: float,
    until: Any = lambda: True,
) -> dict[str, Any]:
    """Clients that ask one row after the other for `seconds`, and on until `until()`."""
    told: dict[str, Any] = {"answers": 0, "wrong": 0, "failed": 0, "seconds": []}
    lock, end = threading.Lock(), time.monotonic() + seconds

    def ask(seed: int) -> None:
        random = np.random.default_rng(seed)
        while time.monotonic() < end or not until():
            name, place = names[random.integers(len(names))], int(random.integers(len(rows)))
            start = time.perf_counter()
            try:
                pinned = runtime.pin(name)
                submission = scheduler.submit([(runtime.encode(rows[place], pinned), pinned)])
                (logits,) = submission.future.result(60)
                right = bool(np.abs(logits - wanted[pinned.tag][place]).max() < 1e-3)
                failed = False
            except NotFound:
                right, failed = True, True
            taken = time.perf_counter() - start
            with lock:
                told["answers"] += 1
                told["wrong"] += not right
                told["failed"] += failed
                told["seconds"].append(taken)

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return told


def percentile(values: list[float], share: float) -> float:
    return round(1000 * float(np.percentile(values, share)), 3)


if __name__ == "__main__":
    main()
