"""A batch in which every row has another adapter, against the same batch with one adapter for all.

    python benchmarks/mixed.py BUNDLE                      # a swappable bundle; 2 minutes
    python benchmarks/mixed.py BUNDLE --variant int8

32 adapters of small tasks on real texts of banking77. Prints throughput as a ratio, mixed over one (aim: 0.95), and
keeps it in benchmarks/results/mixed-<variant>.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from common import small_adapters, texts, turns

from serve.adapters.adapter import read_adapter
from serve.bundle import Bundle
from serve.engine import Engine
from serve.files import write_json
from serve.machine import describe
from serve.tokenize import TextTokenizer

ADAPTERS = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--variant", default="fp32")
    parser.add_argument("--repeats", type=int, default=40)
    options = parser.parse_args()
    bundle = Bundle.open(options.bundle)
    tokenizer = TextTokenizer(bundle)
    adapters = [read_adapter(files, bundle.manifest) for files in small_adapters(bundle, ADAPTERS)]
    tokens = [tokenizer.encode(text) for text in sorted(texts(ADAPTERS), key=len)]
    rows = []
    for threads in (1, 2):
        engine = Engine(bundle, tokenizer, options.variant, threads=threads)
        for batch in (8, 16, 32):
            part, one = tokens[:batch], [adapters[0]] * batch
            taken = turns(
                {
                    "one": lambda engine=engine, part=part, one=one: engine.run(part, one),
                    "mixed": lambda engine=engine, part=part, batch=batch: engine.run(part, adapters[:batch]),
                },
                options.repeats,
            )
            middle = {name: float(np.median(values)) for name, values in taken.items()}
            rows.append(
                {
                    "threads": threads,
                    "rows": batch,
                    "one_ms": round(1000 * middle["one"], 2),
                    "mixed_ms": round(1000 * middle["mixed"], 2),
                    "throughput": round(middle["one"] / middle["mixed"], 3),
                }
            )
    result = {"variant": options.variant, "adapters": ADAPTERS, "machine": describe(), "rows": rows}
    write_json(Path(__file__).parent / "results" / f"mixed-{options.variant}.json", result)
    print("| threads | rows | one adapter | every row another | throughput, mixed over one |\n|---|---|---|---|---|")
    for row in rows:
        told = (str(row["threads"]), str(row["rows"]), f"{row['one_ms']} ms", f"{row['mixed_ms']} ms")
        print(f"| {' | '.join(told)} | {row['throughput']:.3f} |")


if __name__ == "__main__":
    main()
