"""`svfit serve` against bare session.run on the same batches: throughput at saturation, added latency when idle.

    python benchmarks/server.py BUNDLE                     # a swappable bundle; 3 minutes
    python benchmarks/server.py BUNDLE --variant int8

Saturation: 4 connections send 16 texts a request (of like length, one adapter), over and over; against two threads
that call session.run of backbone and head on the same tokens, one CPU thread each, as the server's workers do. Rounds
take turns. Idle: one text at a time, server and bare session taking turns with every request. The client shares the
machine's cores with the server: its share of the CPU is told. Keeps benchmarks/results/server-<variant>.json.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from common import texts, turns

from serve.adapters.adapter import read_adapter
from serve.bundle import Bundle
from serve.engine import Engine
from serve.files import write_json
from serve.machine import describe
from serve.tokenize import TextTokenizer

ROWS, CONNECTIONS, WORKERS = 16, 4, 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--variant", default="fp32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0, help="of a round")
    options = parser.parse_args()
    bundle = Bundle.open(options.bundle)
    tokenizer = TextTokenizer(bundle)
    name = bundle.manifest.swap.adapters[0] if bundle.manifest.swap else "default"
    adapter = read_adapter(bundle.path / "adapters" / name, bundle.manifest)
    engine = Engine(bundle, tokenizer, options.variant, threads=1)
    rows = sorted(texts(512), key=lambda text: tokenizer.encode(text).shape[1])
    batches = [rows[start : start + ROWS] for start in range(0, len(rows), ROWS)]
    bodies = [json.dumps({"adapter": name, "text": batch, "top": 1}).encode() for batch in batches]
    tokens = [[tokenizer.encode(row) for row in batch] for batch in batches]
    with serving(options) as url:
        bare, served, client = [], [], []
        for _ in range(options.rounds):
            bare.append(rate(lambda place: engine.run(tokens[place], [adapter] * ROWS), WORKERS, options.seconds))
            began = time.process_time()
            served.append(over_http(url, bodies, options.seconds))
            client.append((time.process_time() - began) / options.seconds)
        one = json.dumps({"adapter": name, "text": rows[256], "top": 1}).encode()
        connection = connect(url)
        idle = turns(
            {
                "bare": lambda: engine.run([tokenizer.encode(rows[256])], [adapter]),
                "served": lambda: post(connection, one),
            },
            repeats=300,
        )
    middle = {key: 1000 * float(np.percentile(values, 50)) for key, values in idle.items()}
    result: dict[str, Any] = {
        "variant": options.variant,
        "machine": describe(),
        "bare_rows_s": [round(value, 1) for value in bare],
        "served_rows_s": [round(value, 1) for value in served],
        "throughput": round(float(np.median(np.array(served) / np.array(bare))), 3),
        "client_cpu_cores": round(float(np.median(client)), 2),
        "idle_bare_p50_ms": round(middle["bare"], 2),
        "idle_served_p50_ms": round(middle["served"], 2),
        "idle_added_p50_ms": round(middle["served"] - middle["bare"], 2),
    }
    write_json(Path(__file__).parent / "results" / f"server-{options.variant}.json", result)
    for key, value in result.items():
        if key != "machine":
            print(f"{key:<20}{value}")


class serving:  # noqa: N801  (used as a function)
    """A server process on a free port; gives its address."""

    def __init__(self, options: argparse.Namespace) -> None:
        program = Path(sys.executable).with_name("svfit")
        command = [str(program), "serve", str(options.bundle), "--variant", options.variant, "--port", "0", "--json"]
        self._process = subprocess.Popen(
            [*command, "--set", "log=none", "--set", f"workers={WORKERS}"], stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> str:
        assert self._process.stdout is not None  # noqa: S101
        return str(json.loads(self._process.stdout.readline())["url"])

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()


def connect(url: str) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    return http.client.HTTPConnection(str(parts.hostname), parts.port)


def post(connection: http.client.HTTPConnection, body: bytes) -> bytes:
    connection.request("POST", "/v1/predict", body)
    answer = connection.getresponse()
    data = answer.read()
    if answer.status != 200:
        raise SystemExit(data.decode())
    return data


def over_http(url: str, bodies: list[bytes], seconds: float) -> float:
    held = threading.local()

    def send(place: int) -> None:
        if not hasattr(held, "connection"):
            held.connection = connect(url)
        post(held.connection, bodies[place])

    return rate(send, CONNECTIONS, seconds)


def rate(work: Callable[[int], object], threads: int, seconds: float) -> float:
    """Rows a second of `threads` threads that go through the batches over and over."""
    done = [0] * threads
    end = time.monotonic() + seconds

    def run(thread: int) -> None:
        for place in itertools.cycle(range(thread, 32, threads)):
            if time.monotonic() >= end:
                return
            work(place)
            done[thread] += ROWS

    began = time.monotonic()
    workers = [threading.Thread(target=run, args=(thread,)) for thread in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(done) / (time.monotonic() - began)


if __name__ == "__main__":
    main()
