"""svfit against what people do now: the same encoder, texts and machine; every request asks for another of N adapters.

    pip install --target /tmp/lit --no-deps litserve==0.2.19 pyzmq        # apart: it is no requirement of ours
    PYTHONPATH=/tmp/lit python benchmarks/rivals.py BUNDLE --merged OTHER # a swappable and a merged bundle; 6 minutes

- in one process, one thread: svfit's mixed batch; PEFT with set_adapter (LoRA r=8 on the same layers, PyTorch), the
  batch split by adapter; one merged ONNX session for each adapter, each row its own run
- over HTTP, 8 connections with one text each: svfit serve; LitServe around that PEFT model, two workers each
- memory: resident MB of a fresh process with 1 and with 50 adapters

Adapters are of the same size, not trained for the texts: what they answer is not compared here. Keeps
benchmarks/results/rivals.json.
"""

from __future__ import annotations

import argparse
import http.client
import importlib.util
import itertools
import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import small_adapters, texts, turns
from rivals_peft import PeftModel

from serve.files import write_json
from serve.machine import describe
from serve.manifest import OutputSpec
from serve.runtime import Runtime
from serve.session import GraphSession
from serve.tokenize import TextTokenizer

ADAPTERS, MANY, ROWS, CONNECTIONS = 16, 50, 16, 8
KINDS = ("svfit", "peft", "sessions")


class Sessions:
    """A merged graph for each adapter, in a session of its own: one file many times, as only its size counts."""

    def __init__(self, merged: Path, count: int) -> None:
        from serve.bundle import Bundle

        bundle = Bundle.open(merged)
        manifest = bundle.manifest
        self.tokenizer = TextTokenizer(bundle)
        output = OutputSpec("logits", manifest.output.width)
        path = bundle.file(manifest.variant("fp32").file)
        self.sessions = [GraphSession(path, manifest.input, output, threads=1) for _ in range(count)]

    def answer(self, rows: list[str], adapters: list[str]) -> list[int]:
        found = []
        for row, adapter in zip(rows, adapters, strict=True):
            session = self.sessions[int(adapter.rpartition("-")[2])]
            found.append(int(session.run(self.tokenizer([row])).argmax()))
        return found


class Svfit:
    def __init__(self, bundle: Path, count: int, state: Path) -> None:
        self.runtime = Runtime(bundle, variant="fp32", threads=1, state=state)
        names = {info.name for info in self.runtime.list()}
        for number, files in enumerate(small_adapters(self.runtime.bundle, count)):
            if f"task-{number}" not in names:
                self.runtime.add(files, f"task-{number}")

    def answer(self, rows: list[str], adapters: list[str]) -> list[Any]:
        return self.runtime.predict(rows, adapters)


def make(kind: str, options: argparse.Namespace, count: int) -> Any:
    if kind == "svfit":
        return Svfit(options.bundle, count, options.state)
    return PeftModel(count) if kind == "peft" else Sessions(options.merged, count)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--merged", type=Path, required=True, help="a merged bundle on the same encoder")
    parser.add_argument("--state", type=Path)
    parser.add_argument("--resident", choices=KINDS, help="(the script's own)")
    parser.add_argument("--count", type=int, default=1)
    options = parser.parse_args()
    if options.resident:
        held = make(options.resident, options, options.count)
        held.answer(texts(ROWS), [f"task-{place % options.count}" for place in range(ROWS)])
        print(resident("self"))
        return
    with tempfile.TemporaryDirectory() as folder:
        options.state = Path(folder) / "state"
        result: dict[str, Any] = {"machine": describe(), "adapters": ADAPTERS}
        result["in_process"] = in_process(options)
        result["memory_mb"] = {
            kind: {str(count): in_fresh_process(options, kind, count) for count in (1, MANY)} for kind in KINDS
        }
        result["http"] = {"svfit serve": svfit_over_http(options)}
        if importlib.util.find_spec("litserve"):
            result["http"]["LitServe + PEFT"] = litserve_over_http()
    write_json(Path(__file__).parent / "results" / "rivals.json", result)
    print(json.dumps({key: value for key, value in result.items() if key != "machine"}, indent=1))


def in_process(options: argparse.Namespace) -> dict[str, Any]:
    """A batch of 16 rows, each of another adapter, and one row of changing adapters; all taking turns."""
    made = {kind: make(kind, options, ADAPTERS) for kind in KINDS}
    rows, names = texts(ROWS), [f"task-{place}" for place in range(ADAPTERS)]
    batch = turns({kind: lambda one=one: one.answer(rows, names) for kind, one in made.items()}, 20, 3)
    step = itertools.count()

    def single(one: Any) -> None:
        place = next(step)
        one.answer([rows[place % ROWS]], [names[place % ADAPTERS]])

    alone = turns({kind: lambda one=one: single(one) for kind, one in made.items()}, 160, 6)
    return {
        kind: {
            "batch_rows_s": round(ROWS / float(np.median(batch[kind])), 1),
            "single_p50_ms": round(1000 * float(np.percentile(alone[kind], 50)), 2),
            "single_p99_ms": round(1000 * float(np.percentile(alone[kind], 99)), 2),
        }
        for kind in KINDS
    }


def in_fresh_process(options: argparse.Namespace, kind: str, count: int) -> float:
    command = [sys.executable, __file__, str(options.bundle), "--merged", str(options.merged)]
    command += ["--state", f"{options.state}-{count}", "--resident", kind, "--count", str(count)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


def resident(process: int | str) -> float:
    status = Path(f"/proc/{process}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return round(int(line.split()[1]) / 1024, 1)


def svfit_over_http(options: argparse.Namespace) -> dict[str, float]:
    command = [str(Path(sys.executable).with_name("svfit")), "serve", str(options.bundle), "--variant", "fp32"]
    command += ["--state", str(options.state), "--port", "0", "--json", "--set", "log=none"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None  # noqa: S101
            port = int(json.loads(process.stdout.readline())["url"].rpartition(":")[2])
            return over_http(port, "/v1/predict")
        finally:
            process.terminate()


def litserve_over_http() -> dict[str, float]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, str(Path(__file__).with_name("rivals_peft.py")), str(port), str(ADAPTERS)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 120
        while True:
            try:
                post(http.client.HTTPConnection("127.0.0.1", port, timeout=30), "/predict", "fan", "task-0")
                return over_http(port, "/predict")
            except OSError:
                if time.monotonic() > end or process.poll() is not None:
                    raise SystemExit("LitServe didn't start") from None
                time.sleep(1)
    finally:
        process.terminate()
        process.wait()


def over_http(port: int, path: str, seconds: float = 20.0) -> dict[str, float]:
    """Rows a second and latency of 8 connections with one text at a time, the adapter another with each."""
    rows, taken, lock = texts(64), [], threading.Lock()
    end = [time.monotonic() + 5]  # the first seconds warm up

    def ask(client: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        for place in itertools.count(client):
            if time.monotonic() >= end[0]:
                return
            start = time.perf_counter()
            post(connection, path, rows[place % 64], f"task-{place % ADAPTERS}")
            with lock:
                taken.append(time.perf_counter() - start)

    for length in (5.0, seconds):
        taken.clear()
        end[0] = time.monotonic() + length
        threads = [threading.Thread(target=ask, args=(client,)) for client in range(CONNECTIONS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return {
        "rows_s": round(len(taken) / seconds, 1),
        "p50_ms": round(1000 * float(np.percentile(taken, 50)), 1),
        "p99_ms": round(1000 * float(np.percentile(taken, 99)), 1),
    }


def post(connection: http.client.HTTPConnection, path: str, text: str, adapter: str) -> None:
    body = json.dumps({"text": text, "adapter": adapter}).encode()
    connection.request("POST", path, body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    data = answer.read()
    if answer.status != 200:
        raise SystemExit(data.decode())


if __name__ == "__main__":
    main()
