"""`svfit serve` against bare session.run on the same batches: throughput at saturation, added latency when idle.

    python benchmarks/server.py BUNDLE                     # a swappable bundle; 3 minutes (--quick: 1)
    python benchmarks/server.py BUNDLE --variant int8

Bare is session.run of backbone and head on token arrays made and padded beforehand; the server also reads JSON,
tokenizes, batches, and writes labels. Both have two workers of one CPU thread.

- 16 texts a request, of like length, one adapter: 4 connections, against two threads. Aim: 0.9 of bare rows a second
- one text a request: 16 connections, against two threads that run a row at a time (the server gathers rows)
- idle: one text at a time, bare and server taking turns with every request. Aim: 2 ms more at p50

Rounds take turns. The client shares the machine's cores with the server; it sends requests made beforehand, doesn't
parse answers, and what it took of a core is told. Keeps benchmarks/results/server-<variant>.json.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from common import percentile, texts, turns, versions
from web import Connection, load, request, serving

from serve.adapters.adapter import read_adapter
from serve.bundle import Bundle
from serve.files import write_json
from serve.machine import describe
from serve.session import load as open_session
from serve.session import session_options
from serve.settings import SINGLE
from serve.tokenize import TextTokenizer

ROWS, WORKERS = 16, 2
CONNECTIONS = {"batches": 4, "single": 16}


class Bare:
    """Backbone and head in onnxruntime, and nothing else: `run(place)` answers the batch of that place."""

    def __init__(self, bundle: Bundle, variant: str, name: str, batches: list[list[str]]) -> None:
        swap = bundle.manifest.swap
        assert swap is not None  # noqa: S101  (main refused a merged bundle)
        adapter = read_adapter(bundle.path / "adapters" / name, bundle.manifest)
        head = swap.head(adapter.head)
        self._backbone = open_session(bundle.path / bundle.manifest.variant(variant).file, session_options(SINGLE))
        self._head = open_session(bundle.path / head.file, session_options(SINGLE))
        tokenizer = TextTokenizer(bundle)
        self._feeds = [tokenizer(batch) | {swap.sigma: adapter.reference} for batch in batches]
        self._outputs, self._weights, self._inputs = list(swap.outputs), dict(adapter.weights), head.inputs

    def run(self, place: int) -> object:
        feeds = self._feeds[place % len(self._feeds)]
        found = feeds | dict(zip(self._outputs, self._backbone.run(self._outputs, feeds), strict=True))
        return self._head.run(None, {name: found[name] for name in self._inputs} | self._weights)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--variant", default="fp32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0, help="of a round")
    parser.add_argument("--quick", action="store_true", help="2 rounds of 2 seconds; keeps nothing")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds = 2, 2.0
    bundle = Bundle.open(options.bundle)
    if bundle.manifest.swap is None:
        raise SystemExit(f"{bundle.path}: is merged; make one with --set export.mode=swappable")
    name = bundle.manifest.swap.adapters[0]
    tokenizer = TextTokenizer(bundle)
    rows = sorted(texts(512), key=lambda text: tokenizer.encode(text).shape[1])
    shapes = {"batches": [rows[start : start + ROWS] for start in range(0, len(rows), ROWS)]}
    shapes["single"] = [[row] for row in np.random.default_rng(0).permutation(rows).tolist()]
    result: dict[str, Any] = {
        "variant": options.variant,
        "machine": describe(),
        "versions": versions("onnxruntime", "uvicorn", "fastapi"),
        "workers": WORKERS,
        "threads_a_worker": 1,
    }
    extra = ["--variant", options.variant, "--threads", "1", "--set", f"workers={WORKERS}"]
    with serving(options.bundle, *extra) as (url, _):
        for shape, batches in shapes.items():
            bare = Bare(bundle, options.variant, name, batches)
            wires = [request("/v1/predict", {"adapter": name, "text": batch, "top": 1}) for batch in batches]
            result[shape] = saturated(bare.run, url, wires, len(batches[0]), CONNECTIONS[shape], options)
        result["idle"] = idle(bundle, options.variant, name, rows[len(rows) // 2], url, 60 if options.quick else 400)
    show(result)
    if not options.quick:
        write_json(Path(__file__).parent / "results" / f"server-{options.variant}.json", result)


def saturated(
    bare: Callable[[int], object],
    url: str,
    wires: list[bytes],
    rows: int,
    connections: int,
    options: argparse.Namespace,
) -> dict[str, Any]:
    """Rows a second of both in rounds that take turns, and the median of each round's ratio."""
    rate(bare, len(wires), rows, 1.0)
    load(url, wires, rows, connections, 1.0)
    alone, served, client, seconds = [], [], [], []
    for _ in range(options.rounds):
        alone.append(round(rate(bare, len(wires), rows, options.seconds), 1))
        given = load(url, wires, rows, connections, options.seconds)
        served.append(round(given.rows_s, 1))
        client.append(given.client_cores)
        seconds += given.seconds
    return {
        "rows": rows,
        "connections": connections,
        "bare_rows_s": alone,
        "served_rows_s": served,
        "ratio": round(float(np.median(np.divide(served, alone))), 3),
        "served_p50_ms": percentile(seconds, 50),
        "served_p99_ms": percentile(seconds, 99),
        "client_cores": round(float(np.median(client)), 3),
    }


def rate(work: Callable[[int], object], places: int, rows: int, seconds: float) -> float:
    """Rows a second of as many threads as the server has workers, which go through the batches over and over."""
    done = [0] * WORKERS
    began = time.monotonic()
    end = began + seconds

    def run(thread: int) -> None:
        place = thread
        while time.monotonic() < end:
            work(place % places)
            done[thread] += rows
            place += WORKERS

    threads = [threading.Thread(target=run, args=(thread,)) for thread in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / (time.monotonic() - began)


def idle(bundle: Bundle, variant: str, name: str, text: str, url: str, repeats: int) -> dict[str, float]:
    """One text, the server at rest: medians in ms, and what the server adds."""
    bare, connection = Bare(bundle, variant, name, [[text]]), Connection(url)
    wire = request("/v1/predict", {"adapter": name, "text": text, "top": 1})
    seconds = turns({"bare": lambda: bare.run(0), "served": lambda: connection.ask(wire)}, repeats)
    connection.close()
    found = {f"{key}_p{share}_ms": percentile(values, share) for key, values in seconds.items() for share in (50, 99)}
    return found | {"added_p50_ms": round(found["served_p50_ms"] - found["bare_p50_ms"], 3)}


def show(result: dict[str, Any]) -> None:
    print("| load | bare rows/s | served rows/s | served over bare | client's share of a core |\n|---|---|---|---|---|")
    for shape in CONNECTIONS:
        row = result[shape]
        told = f"{row['connections']} connections, {row['rows']} text(s) a request"
        middle = [float(np.median(row[key])) for key in ("bare_rows_s", "served_rows_s")]
        print(f"| {told} | {middle[0]:.0f} | {middle[1]:.0f} | {row['ratio']:.3f} | {row['client_cores']:.2f} |")
    idle = result["idle"]
    print(f"\nidle: {idle['bare_p50_ms']:.2f} ms bare, {idle['served_p50_ms']:.2f} ms served at p50", end="")
    print(f" ({idle['added_p50_ms']:+.2f} ms); p99 {idle['bare_p99_ms']:.2f} and {idle['served_p99_ms']:.2f} ms")


if __name__ == "__main__":
    main()
