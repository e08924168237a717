"""A batch in which every row has another adapter, against the same batch with one adapter for all.

    python benchmarks/mixed.py BUNDLE                      # a swappable bundle; 2 minutes (--quick: 20 seconds)
    python benchmarks/mixed.py BUNDLE --variant int8

32 adapters of small tasks on real texts of banking77, both sides taking turns in rounds. Prints throughput as a ratio,
mixed over one (aim: 0.95), the median of the rounds and their range, and keeps them in
benchmarks/results/mixed-<variant>.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from common import small_adapters, texts, turns, versions

from serve.adapters.adapter import read_adapter
from serve.bundle import Bundle
from serve.engine import Engine
from serve.files import write_json
from serve.machine import describe
from serve.settings import Settings
from serve.tokenize import TextTokenizer

ADAPTERS = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--variant", default="fp32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=10, help="of a round")
    parser.add_argument("--quick", action="store_true", help="2 rounds of 3; keeps nothing")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.repeats = 2, 3
    bundle = Bundle.open(options.bundle)
    tokenizer = TextTokenizer(bundle)
    adapters = [read_adapter(files, bundle.manifest) for files in small_adapters(bundle, ADAPTERS)]
    tokens = [tokenizer.encode(text) for text in sorted(texts(ADAPTERS), key=len)]
    rows = []
    for threads in (1, 2):
        engine = Engine(bundle, tokenizer, options.variant, Settings(threads))
        for batch in (8, 16, 32):
            part, one = tokens[:batch], [adapters[0]] * batch
            taken = turns(
                {
                    "one": lambda engine=engine, part=part, one=one: engine.run(part, one),
                    "mixed": lambda engine=engine, part=part, batch=batch: engine.run(part, adapters[:batch]),
                },
                options.rounds * options.repeats,
            )
            middle = {
                name: np.median(np.reshape(values, (options.rounds, -1)), axis=1) for name, values in taken.items()
            }
            ratios = middle["one"] / middle["mixed"]
            rows.append(
                {
                    "threads": threads,
                    "rows": batch,
                    "one_ms": round(1000 * float(np.median(middle["one"])), 2),
                    "mixed_ms": round(1000 * float(np.median(middle["mixed"])), 2),
                    "throughput": round(float(np.median(ratios)), 3),
                    "throughput_range": [round(float(ratios.min()), 3), round(float(ratios.max()), 3)],
                }
            )
    result = {
        "variant": options.variant,
        "adapters": ADAPTERS,
        "machine": describe(),
        "versions": versions("onnxruntime", "numpy"),
        "rows": rows,
    }
    if not options.quick:
        write_json(Path(__file__).parent / "results" / f"mixed-{options.variant}.json", result)
    print("| threads | rows | one adapter | every row another | mixed over one | rounds |\n|---|---|---|---|---|---|")
    for row in rows:
        told = (str(row["threads"]), str(row["rows"]), f"{row['one_ms']} ms", f"{row['mixed_ms']} ms")
        low, high = row["throughput_range"]
        print(f"| {' | '.join(told)} | {row['throughput']:.3f} | {low:.3f} to {high:.3f} |")


if __name__ == "__main__":
    main()
