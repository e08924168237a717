"""Every variant of the graph on real tasks: accuracy, parity, size, time and memory.

    python benchmarks/variants_edge.py /work/benchruns/banking77 /work/benchruns/clinc150    # about 10 minutes a run
    python benchmarks/variants_edge.py RUN --variants int8,w4 --rows 200 --repeats 20        # a small share
    python benchmarks/variants_edge.py --table

Each RUN is the folder of a finished `svfit run`; it is only read: the variants are made of its export/ in a temporary
folder. Variants are gated on validation rows; test rows are read once for each that was made. One thread, all variants
in turns. Keeps benchmarks/results/variants-edge-RUN.json; what decides the int8 numbers is in its `machine`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from export.variants.kinds import KINDS, MADE
from export.variants.rank import best, front, ranked
from pipeline.data import Dataset, Split
from pipeline.stages import quantize as stage
from pipeline.stages.context import Context, read_config
from serve.machine import describe, has_int8_dot

HERE = Path(__file__).parent
MAX_DROP = 0.5


def shorter(split: Split | None, rows: int) -> Split | None:
    """Some of a split's rows, spread over it."""
    if split is None or not rows or rows >= len(split.labels):
        return split
    step = len(split.labels) / rows
    places = [int(place * step) for place in range(rows)]
    return replace(split, texts=[split.texts[place] for place in places], labels=[split.labels[p] for p in places])


def make(run: Path, variants: list[str], rows: int, repeats: int) -> dict[str, Any]:
    """All variants of a run's graph, measured; a document for results/."""
    console = Console(stderr=True)
    config = read_config(run)
    quantize = config.quantize.model_copy(update={"variants": variants, "max_drop": MAX_DROP})
    context = Context(config.model_copy(update={"quantize": quantize}), run, console)
    whole = context.dataset
    dataset: Dataset = replace(whole, validation=shorter(whole.validation, rows), test=shorter(whole.test, rows))
    context.__dict__["dataset"] = dataset  # where the cached property looks first
    with tempfile.TemporaryDirectory() as folder, Progress(console=console, transient=True) as progress:
        made = stage.Making(context, Path(folder), progress)
        fp32 = made.evaluation.every(made.fp32)
        metric = made.evaluation.metric
        made.records["fp32"]["metrics"] = fp32
        made.gate = replace(made.gate, baseline=float(fp32["validation"][metric]))
        for name in variants:
            if KINDS[name].of != "default":
                console.print(f"{run.name}: {name}")
                made.add(KINDS[name])
        made.time(repeats=repeats)
        default = best(list(made.records.values()))
        for name in variants:
            if KINDS[name].of == "default":
                made.add(KINDS[name], default)
                made.time([default, name], repeats)
        made.weigh()
        records = list(made.records.values())
    scores = {
        row["name"]: {split: found[metric] for split, found in row["metrics"].items()}
        for row in records
        if "metrics" in row
    }
    return {
        "run": run.name,
        "metric": metric,
        "max_drop": MAX_DROP,
        "rows": {split.name: len(split.labels) for split in (dataset.validation, dataset.test) if split},
        "machine": describe(),
        "int8_dot": has_int8_dot(describe()["isa"]),
        "default": best(records),
        "front": front(records, metric),
        "variants": [
            {key: value for key, value in row.items() if key not in ("metrics", "about", "remarks")}
            | {"score": scores.get(row["name"], {})}
            for row in ranked(records)
        ],
    }


def table(document: dict[str, Any]) -> str:
    """Markdown: a row a variant, by rank; throughput as a ratio to fp32's."""
    rows = document["variants"]
    fp32 = next(row for row in rows if row["name"] == "fp32")
    isa = ", ".join(document["machine"]["isa"])
    counts = ", ".join(f"{count:,} {split}" for split, count in document["rows"].items())
    lines = [
        f"{document['run']} ({document['metric']}; rows: {counts}; {document['machine']['cpu']}: {isa})",
        "",
        "| variant | validation | test | parity | size | p50 | p99 | rows/s at 16 | loaded | peak | in fp32 | gate |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        name = f"**{row['name']}**" if row["name"] in document["front"] else row["name"]
        if "bytes" not in row:
            lines.append(f"| {name} |{' – |' * 10} not made: {row['why']} |")
            continue
        score, took, memory = row["score"], row["latency"], row["memory"]
        test = f"{score['test']:.4f}" if "test" in score else "–"
        rate = took["throughput"] / fp32["latency"]["throughput"]
        held = "held" if row["held"] else row["why"]
        lines.append(
            f"| {name} | {score['validation']:.4f} | {test} | {row['parity']['max_abs']:.2g} | "
            f"{row['bytes'] / 1e6:.1f} MB | {took['p50_ms']:.2f} ms | {took['p99_ms']:.2f} ms | "
            f"{took['throughput']:.0f} ({rate:.2f} ×) | {memory.get('loaded_bytes', 0) / 1e6:.0f} MB | "
            f"{memory['peak_bytes'] / 1e6:.0f} MB | {len(row['kept_fp32'])} | {held} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN", help="folders of finished runs")
    parser.add_argument("--variants", default=",".join(MADE), help=f"of {', '.join(MADE)}")
    parser.add_argument("--rows", type=int, default=0, help="rows of each split at most; 0 = all")
    parser.add_argument("--repeats", type=int, default=100, help="rounds of single rows")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="folder of the results")
    parser.add_argument("--table", action="store_true", help="print what is there and stop")
    options = parser.parse_args()
    if options.table:
        for path in sorted(options.out.glob("variants-edge-*.json")):
            print(table(json.loads(path.read_text("utf-8"))) + "\n")
        return
    wanted = [name for name in MADE if name in options.variants.split(",")]
    for run in options.runs:
        document = make(run, wanted, options.rows, options.repeats)
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / f"variants-edge-{run.name}.json").write_text(json.dumps(document, indent=1) + "\n")
        print(table(document) + "\n", flush=True)


if __name__ == "__main__":
    main()
