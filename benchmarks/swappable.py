"""What sharing a backbone costs: two real tasks in one swappable bundle, against each one's own merged graph.

    python benchmarks/swappable.py            # from nothing 40 minutes on 2 cores; goes on where it was interrupted
    python benchmarks/swappable.py --time     # only time the graphs of runs that are there

Runs banking77 and clinc150 with the defaults, banking77 with export.mode = swappable and clinc150's adapter along.
Prints accuracy on the test rows, merged alone and shared, and latency as a ratio, swappable over merged, in fp32 and
in int8: the graphs take turns on the same rows, sigma fed for the batch and by row, and folded in (promoted). Keeps
the numbers in benchmarks/results/swappable.json.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from pipeline.config import load
from pipeline.stages.runner import run
from serve.adapters.adapter import LoadedAdapter, read_adapter
from serve.bundle import Bundle
from serve.engine import Engine, MergedEngine
from serve.files import write_json
from serve.machine import describe
from serve.promotion.promoted import PromotedSession
from serve.settings import Settings
from serve.tokenize import TextTokenizer

HERE = Path(__file__).parent
REPEATS = 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where the runs are, or will be")
    parser.add_argument("--time", action="store_true", help="take the runs as they are")
    options = parser.parse_args()
    second, first = options.runs / "clinc150", options.runs / "banking77-shared"
    if not options.time:
        console = Console(stderr=True)
        run(load(HERE / "clinc150.toml"), second, fresh=False, console=console)
        shared = ["export.mode=swappable", f'export.adapters=["{second.absolute()}"]']
        run(load(HERE / "banking77.toml", shared), first, fresh=False, console=console)

    report = json.loads((first / "report.json").read_text())
    merged = second / "bundle"  # the graph of another task, of the very same shape but for the head
    result = {"swap": report["swap"], "gates": report["gates"], "machine": describe(), "times": times(first, merged)}
    write_json(HERE / "results" / "swappable.json", result)
    print(table(result))


def times(first: Path, merged: Path) -> list[dict[str, Any]]:
    """A row for each variant, thread count and batch: medians in ms, and swappable over merged."""
    bundle, plain = Bundle.open(first / "bundle", check=False), Bundle.open(merged, check=False)
    tokenizer = TextTokenizer(bundle)
    names = bundle.manifest.swap.adapters if bundle.manifest.swap else ()
    adapters = [read_adapter(bundle.path / "adapters" / name, bundle.manifest) for name in names]
    text = "i was charged a fee for withdrawing cash abroad, is that right?"
    rows = []
    for variant in ("fp32", "int8"):
        for threads in (1,):  # pools of several sessions would spin against each other
            engine = Engine(bundle, tokenizer, variant, Settings(threads))
            alone = MergedEngine(plain, tokenizer, variant, Settings(threads))
            for batch in (1, 16):
                tokens = [tokenizer.encode(text)] * batch
                one: list[LoadedAdapter] = [adapters[0]] * batch
                mixed = [adapters[place % len(adapters)] for place in range(batch)]
                promoted = None
                works: dict[str, Any] = {
                    "merged": lambda alone=alone, tokens=tokens, one=one: alone.run(tokens, one),
                    "shared": lambda engine=engine, tokens=tokens, one=one: engine.run(tokens, one),
                    "mixed": lambda engine=engine, tokens=tokens, mixed=mixed: engine.run(tokens, mixed),
                }
                if variant == "fp32":
                    promoted = PromotedSession(bundle, adapters[0].sigma, Settings(threads))
                    works["promoted"] = lambda engine=engine, tokens=tokens, one=one, promoted=promoted: engine.run(
                        tokens, one, promoted.run
                    )
                seconds = turns(works)
                rows.append(
                    {
                        "variant": variant,
                        "threads": threads,
                        "batch": batch,
                        "tokens": int(tokens[0].shape[1]),
                        "merged_ms": round(1000 * seconds["merged"], 3),
                        "ratio": round(seconds["shared"] / seconds["merged"], 3),
                        "ratio_mixed": round(seconds["mixed"] / seconds["merged"], 3),
                        "ratio_promoted": round(seconds["promoted"] / seconds["merged"], 3) if promoted else None,
                        "promoted_differs": differs(works) if promoted else None,
                    }
                )
    return rows


def turns(works: dict[str, Any]) -> dict[str, float]:
    """Median seconds of each, all taking turns."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(REPEATS + 5):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            if turn >= 5:
                taken[name].append(time.perf_counter() - start)
    return {name: float(np.median(values)) for name, values in taken.items()}


def differs(works: dict[str, Any]) -> float:
    """Largest difference of a logit between the promoted session and the swappable graph."""
    return max(float(np.abs(a - b).max()) for a, b in zip(works["promoted"](), works["shared"](), strict=True))


def table(result: dict[str, Any]) -> str:
    """Markdown: accuracy by adapter, then latency."""
    swap = result["swap"]
    lines = [
        f"| adapter | {swap['split']} metric | merged alone | shared fp32 | shared int8 | energy kept |",
        "|---|---|---|---|---|---|",
        *(
            f"| {task['name']} | {task['metric']} | {task['merged']:.4f} | {task['served']:.4f} | {task['int8']:.4f} "
            f"| {task['kept_share']:.0%} |"
            for task in swap["tasks"]
        ),
        "",
        f"{swap['directions']:,} directions carried.",
        "",
        "| variant | threads | batch | merged | swappable / merged | both adapters / merged | promoted / merged |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {row['variant']} | {row['threads']} | {row['batch']} | {row['merged_ms']:.2f} ms | {row['ratio']:.3f} "
            f"| {row['ratio_mixed']:.3f} | {row['ratio_promoted'] or '–'} |"
            for row in result["times"]
        ),
        "",
        f"{result['machine']['cpu']}, {result['machine']['cores']} cores.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
