"""The HTTP part of rivals.py: `svfit serve` and LitServe with PEFT, each asked in turn by the same light client."""

from __future__ import annotations

import argparse
import os
import socket
import tempfile
import time
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

from common import memory_mb, numbers
from rivals_side import Svfit, requests
from web import load, process, request, serving

from serve.bundle import Bundle

HERE = Path(__file__).parent
WORKERS = 2
LOADS = {  # connections, shape of a request
    "1 connection, one text": (1, "single"),
    "8 connections, one text": (8, "single"),
    "4 connections, 16 of 16 tasks": (4, "mixed"),
}
OURS = "svfit serve, fp32"
READY_SECONDS = 180.0


def over_http(options: argparse.Namespace) -> dict[str, Any]:
    """By load and server what `numbers` gives; MB of each server's processes; cores that the client took."""
    bundle = Bundle.open(options.bundle)
    tasks = [f"task-{number}" for number in range(options.count)]
    with ExitStack() as stack:
        state = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "state"
        Svfit(bundle, options.count, "fp32", 1, state).close()
        servers = {
            OURS: svfit(options.bundle, state, "fp32", stack),
            "svfit serve, int8": svfit(options.bundle, state, "int8", stack),
            "LitServe, set_adapter": litserve(options, "", stack),
            "LitServe, gathered, adapter_names": litserve(options, "batched", stack),
        }
        found: dict[str, Any] = {}
        client: dict[str, float] = {}
        for name, (connections, shape) in LOADS.items():
            asked = list(islice(requests(shape, tasks, 1), 256))
            wires = {
                server: [request(path, {"text": rows, "adapter": names} | extra) for rows, names in asked]
                for server, (_, path, extra, _) in servers.items()
            }
            rows = len(asked[0][0])
            taken: dict[str, list[list[float]]] = {server: [] for server in servers}
            rates: dict[str, list[float]] = {server: [] for server in servers}
            for url, server in [(value[0], key) for key, value in servers.items()]:
                load(url, wires[server], rows, connections, 1.0)  # warm-up
            for _ in range(options.rounds):
                for server, (url, _, _, _) in servers.items():
                    given = load(url, wires[server], rows, connections, options.seconds)
                    taken[server].append(given.seconds)
                    rates[server].append(given.rows_s)
                    client[server] = max(client.get(server, 0.0), round(given.client_cores, 2))
            found[name] = numbers(taken, rows, OURS, rates)
        memory = {server: memory_mb(running) for server, (_, _, _, running) in servers.items()}
    return {"workers": WORKERS, "loads": found, "memory_mb": memory, "client_cores_at_most": client}


Server = tuple[str, str, dict[str, Any], int]
"""Its address, its route, what a request has besides texts and adapters, its process."""


def svfit(bundle: Path, state: Path, variant: str, stack: ExitStack) -> Server:
    extra = ["--state", str(state), "--variant", variant, "--threads", "1", "--set", f"workers={WORKERS}"]
    url, pid = stack.enter_context(serving(bundle, *extra))
    return url, "/v1/predict", {"top": 1}, pid


def litserve(options: argparse.Namespace, mode: str, stack: ExitStack) -> Server:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(options.litserve), str(HERE / "rivals_litserve.py"), str(options.bundle.absolute())]
    command += [str(options.count), str(port), str(WORKERS), *([mode] if mode else [])]
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent), "OMP_NUM_THREADS": "1"}
    running = stack.enter_context(process(command, environment, quiet=not options.debug))
    url = f"http://127.0.0.1:{port}"
    wire = request("/predict", {"text": ["is it there?"], "adapter": ["task-0"]})
    end = time.monotonic() + READY_SECONDS
    while True:
        try:
            load(url, [wire], 1, 1, 0.01)
            return url, "/predict", {}, running.pid
        except (OSError, SystemExit):
            if time.monotonic() > end or running.poll() is not None:
                raise SystemExit("LitServe did not start; --debug shows what it said") from None
            time.sleep(0.5)
