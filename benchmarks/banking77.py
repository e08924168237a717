"""`svfit run` on banking77 with the defaults, and the table of what came out.

    python benchmarks/banking77.py            # about 12 minutes on 2 cores; goes on where it was interrupted
    python benchmarks/banking77.py --seed 1   # another seed, in a run of its own

Keeps the numbers in benchmarks/results/banking77-seed<N>.json and prints the table that benchmarks/README.md shows.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from rich.console import Console

from pipeline.config import load
from pipeline.stages.runner import run
from serve.files import write_json

HERE = Path(__file__).parent
KEPT = ("name", "trainable", "gates", "variants", "machine", "seconds", "created")


def table(report: dict[str, Any]) -> str:
    """Markdown: a row for each variant, then what it took."""
    lines = [
        "| variant | test accuracy | macro-F1 | size | p50, 1 row | rows/s, batch 16 |",
        "|---|---|---|---|---|---|",
    ]
    for variant in report["variants"]:
        metrics, latency = variant["metrics"]["test"], variant["latency"]
        lines.append(
            f"| {variant['name']}{' (default)' if variant['default'] else ''} | {metrics['accuracy']:.4f} "
            f"| {metrics['macro_f1']:.4f} | {variant['bytes'] / 1e6:.1f} MB | {latency['p50_ms']:.1f} ms "
            f"| {latency['throughput']:.0f} |"
        )
    training, machine = report["training"], report["machine"]
    trained = report["trainable"]
    lines += [
        "",
        f"{trained['adapter']:,} singular values and {trained['head']:,} head values trained; "
        f"{training['steps']} steps of {training['seconds_per_step']:.2f} s; "
        f"peak memory {training['peak_memory_bytes'] / 1e6:.0f} MB; {machine['cpu']}, {machine['cores']} cores.",
        "Gates: "
        + ", ".join(f"{gate['name']} {gate['value']:.3g} (limit {gate['limit']:g})" for gate in report["gates"]),
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    seed = parser.parse_args().seed
    config = load(HERE / "banking77.toml", [f"train.seed={seed}"])
    report = run(config, Path("runs") / f"banking77-seed{seed}", fresh=False, console=Console(stderr=True))
    kept = {key: report[key] for key in KEPT}
    kept["training"] = {key: value for key, value in report["training"].items() if key != "curve"}
    kept["test"] = {key: value for key, value in report["metrics"]["test"].items() if isinstance(value, float)}
    write_json(HERE / "results" / f"banking77-seed{seed}.json", kept)
    print(table(report))


if __name__ == "__main__":
    main()
