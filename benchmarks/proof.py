"""SVFit against LoRA, PiSSA, full fine-tuning and the head alone: every method's rate swept, three seeds.

    python benchmarks/proof.py                       # 250 or 300 steps each: a working day on two cores
    python benchmarks/proof.py --size full           # until it has converged: for a GPU host
    python benchmarks/proof.py --tasks ncbi_disease --methods svfit,lora:8
    python benchmarks/proof.py --table               # prints what is there and stops

Each method is tried at three rates (√10 apart) with one seed and judged on validation rows; the best one is trained
with two more seeds; test rows are read for those three only. It goes on where it was interrupted (runs/proof-SIZE/);
tasks may run at once, each in a process of its own. Keeps benchmarks/results/proof-SIZE-TASK.json. One thread each.
Seconds and memory are in the files too, but trainings that ran beside others are no measure of speed: see training.py.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from rich.console import Console
from tasks import HEAD, HERE, SIZES, compare, keep, listed, metric, named_methods, row

METHODS = "svfit,lora:8,full,head,banded:2,dense:48,pissa:8"


def results(size: str, name: str) -> Path:
    return HERE / "results" / f"proof-{size}-{name}.json"


def table(size: str, names: list[str]) -> str:
    """Markdown: a table for each task that was measured."""
    parts = []
    for name in names:
        if not results(size, name).exists():
            continue
        document = json.loads(results(size, name).read_text("utf-8"))
        judged = metric(name)
        rows = "\n".join(row(one, judged) for one in document["methods"])
        steps = f"{document['steps']} steps of {document['batch_size']} rows"
        parts.append(f"**{name}** ({judged.replace('_', ' ')}, {steps})\n\n{HEAD}\n{rows}")
    return "\n\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=list(SIZES), default="short")
    parser.add_argument("--tasks", type=listed(SIZES["short"]), default=",".join(SIZES["short"]))
    parser.add_argument("--methods", type=named_methods, default=METHODS)
    parser.add_argument("--table", action="store_true", help="print what is there and stop")
    options = parser.parse_args()
    for name in [] if options.table else options.tasks:
        folder = Path("runs") / f"proof-{options.size}" / name
        found = compare(name, options.size, options.methods, folder, Console(stderr=True))
        keep(results(options.size, name), name, options.size, found)
    print(table(options.size, options.tasks))


if __name__ == "__main__":
    main()
