"""svfit against what people do now: the same encoder, texts and machine; every request asks for another of 50 tasks.

    python3 -m venv /tmp/litserve && /tmp/litserve/bin/pip install -r benchmarks/requirements.txt -c constraints.txt
    python benchmarks/rivals.py BUNDLE                     # a swappable bundle; 20 minutes (--quick: 3)

Without /tmp/litserve (or --litserve PYTHON) the LitServe part is left out, and the result says so.

- In one process, one CPU thread: svfit's runtime; PEFT in PyTorch, LoRA r=8 on the same layers, `set_adapter` before
  each task's rows, or `adapter_names` for all at once; PEFT with svfit's own adapters, exactly (4 of them); a merged
  ONNX session for each task. Each side in a process of its own, taking turns; one text a request, 16 of one task, and
  16 of 16 tasks. The sides that hold the same adapters must give the same answers.
- Memory of those processes, with 1 task and with all.
- Over HTTP, two workers of one thread each: `svfit serve`, and LitServe around that PEFT model, taking turns.

The tasks are small (4 labels) and made from the bundle's own adapter; LoRA's values are random. Speed doesn't depend on
them, and accuracy isn't compared here. Keeps benchmarks/results/rivals.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from common import numbers, versions
from rivals_http import over_http
from rivals_side import BATCH, EXACT, SHAPES

from serve.files import write_json
from serve.machine import describe

HERE = Path(__file__).parent
SIDES = {
    "svfit fp32": "svfit, fp32",
    "svfit int8": "svfit, int8",
    "peft split": "PEFT, set_adapter",
    "peft mixed": "PEFT, adapter_names",
    "peft exact": "PEFT, svfit's adapters as LoRA",
    "merged": "a merged session each",
}
OURS = "svfit fp32"
SAME = ("merged", "peft exact")  # sides that must answer as OURS does
CLOSE = 1e-4  # of probabilities: float32 products in another order


class Side:
    """A process of rivals_side.py, loaded and warm."""

    def __init__(self, name: str, options: argparse.Namespace, count: int, stack: ExitStack) -> None:
        self.name = name
        command = [sys.executable, str(HERE / "rivals_side.py"), name, str(options.bundle), str(count)]
        self._process = stack.enter_context(
            subprocess.Popen(
                [*command, str(options.threads)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=None if options.debug else subprocess.DEVNULL,  # libraries that load models are talkative
                text=True,
            )
        )
        self._read()

    def ask(self, **command: Any) -> Any:
        """A command's answer."""
        assert self._process.stdin is not None  # noqa: S101
        print(json.dumps(command), file=self._process.stdin, flush=True)
        return self._read()

    def close(self) -> None:
        """Let the process end."""
        assert self._process.stdin is not None  # noqa: S101
        self._process.stdin.close()
        self._process.wait()

    def _read(self) -> Any:
        assert self._process.stdout is not None  # noqa: S101
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"side {self.name} ended; --debug shows what it said")
        return json.loads(line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--count", type=int, default=50, help="tasks")
    parser.add_argument("--threads", type=int, default=1, help="of a side in process")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of a side's turn")
    parser.add_argument("--litserve", type=Path, default=Path("/tmp/litserve/bin/python"))  # noqa: S108
    parser.add_argument("--quick", action="store_true", help="8 tasks, 2 rounds of a second; keeps nothing")
    parser.add_argument("--debug", action="store_true", help="show what the sides say")
    options = parser.parse_args()
    if options.quick:
        options.count, options.rounds, options.seconds = 8, 2, 1.0
    result: dict[str, Any] = {
        "machine": describe(),
        "versions": versions("onnxruntime", "torch", "transformers", "peft"),
        "settings": {key: getattr(options, key) for key in ("count", "threads", "rounds", "seconds")},
        "in_process": in_process(options),
        "memory": memory(options),
        "http": over_http(options) if options.litserve.exists() else f"left out: no {options.litserve}",
    }
    show(result)
    if not options.quick:
        write_json(HERE / "results" / "rivals.json", result)


def in_process(options: argparse.Namespace) -> dict[str, Any]:
    """By shape and side: rows a second, their ratio to OURS, latency of a request; and how far answers are apart."""
    found: dict[str, Any] = {}
    with ExitStack() as stack:
        sides = [
            Side(name, options, min(options.count, EXACT) if name == "peft exact" else options.count, stack)
            for name in SIDES
        ]
        answers = {side.name: np.array(side.ask(do="answers")) for side in sides}
        apart = {name: float(np.abs(answers[name] - answers[OURS]).max()) for name in SAME}
        if max(apart.values()) > CLOSE:
            raise SystemExit(f"sides with the same adapters answer differently: {apart}")
        for shape in SHAPES:
            taken: dict[str, list[list[float]]] = {name: [] for name in SIDES}
            for turn in range(options.rounds):
                for side in sides[turn % len(sides) :] + sides[: turn % len(sides)]:
                    taken[side.name].append(side.ask(do="run", shape=shape, seed=turn, seconds=options.seconds))
            rows = 1 if shape == "single" else BATCH
            found[shape] = numbers(taken, rows, OURS)
        for side in sides:
            side.close()
    return {"largest_difference": apart, "shapes": found}


def memory(options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """MB of a side's process by itself, by the tasks that it holds."""
    found: dict[str, dict[str, float]] = {}
    for name in SIDES:
        if name in ("peft mixed", "peft exact"):
            continue  # the first is the same process as "peft split"; the second isn't what anyone would serve
        found[name] = {}
        for count in (EXACT, options.count):
            with ExitStack() as stack:
                side = Side(name, options, count, stack)
                found[name][str(count)] = side.ask(do="memory")
                side.close()
    return found


def show(result: dict[str, Any]) -> None:
    settings = result["settings"]
    told = {"single": "one text", "same": f"{BATCH} of one task", "mixed": f"{BATCH} of {BATCH} tasks"}
    print(f"\nIn one process, {settings['count']} tasks, {settings['threads']} thread(s):\n")
    print("| request | side | rows/s (rounds) | against svfit fp32 | p50 | p99 |\n|---|---|---|---|---|---|")
    for shape, sides in result["in_process"]["shapes"].items():
        for name, row in sides.items():
            print(f"| {told[shape]} | {SIDES[name]} | {line(row)}")
    few, many = str(EXACT), str(settings["count"])
    print(f"\nMemory of the process:\n\n| side | {few} tasks | {many} tasks | for each more |\n|---|---|---|---|")
    for name, sizes in result["memory"].items():
        each = (sizes[many] - sizes[few]) / max(1, settings["count"] - EXACT)
        print(f"| {SIDES[name]} | {sizes[few]:.0f} MB | {sizes[many]:.0f} MB | {each:.2f} MB |")
    if isinstance(result["http"], str):
        print(f"\nOver HTTP: {result['http']}")
        return
    print("\nOver HTTP:\n")
    print("| load | server | rows/s (rounds) | against svfit fp32 | p50 | p99 |\n|---|---|---|---|---|---|")
    for load, servers in result["http"]["loads"].items():
        for name, row in servers.items():
            print(f"| {load} | {name} | {line(row)}")
    print("\nMemory of the server's processes: ", end="")
    print(", ".join(f"{name} {size:.0f} MB" for name, size in result["http"]["memory_mb"].items()))


def line(row: dict[str, Any]) -> str:
    low, high = row["rows_s_range"]
    return (
        f"{row['rows_s']:.0f} ({low:.0f} to {high:.0f}) | {row['ratio']:.2f} | {row['p50_ms']:.1f} ms "
        f"| {row['p99_ms']:.1f} ms |"
    )


if __name__ == "__main__":
    main()
