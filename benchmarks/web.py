"""A light HTTP client for the benchmarks: raw sockets that stay open, requests made beforehand, answers not parsed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

LARGEST = 2**20  # bytes read at once


def wire(method: str, path: str, body: bytes = b"", kind: str = "application/json") -> bytes:
    """A request as it goes over the wire; `kind` is its body's content type."""
    head = f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: {kind}\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


def request(path: str, document: Any) -> bytes:
    """A POST of JSON."""
    return wire("POST", path, json.dumps(document).encode())


def form(files: Mapping[str, bytes]) -> tuple[bytes, str]:
    """Files as the body of an upload, and its content type."""
    mark = "part-of-the-benchmark"
    body = b"".join(
        f'--{mark}\r\ncontent-disposition: form-data; name="{name}"; filename="{name}"\r\n\r\n'.encode()
        + data
        + b"\r\n"
        for name, data in files.items()
    )
    return body + f"--{mark}--\r\n".encode(), f"multipart/form-data; boundary={mark}"


class Connection:
    """One connection, kept alive. Raises SystemExit with the server's words for an answer that is no success."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._socket = socket.create_connection((str(parts.hostname), int(parts.port or 80)), timeout=120)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, wire: bytes) -> bytes:
        """Send a request made by `wire`; the answer's body."""
        self._socket.sendall(wire)
        data = self._more(b"")
        while (end := data.find(b"\r\n\r\n")) < 0:
            data = self._more(data)
        head = data[:end].lower()
        length = int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        while len(data) < end + 4 + length:
            data = self._more(data)
        if not head.startswith(b"http/1.1 20"):
            raise SystemExit(data.decode(errors="replace"))
        return data[end + 4 :]

    def close(self) -> None:
        self._socket.close()

    def _more(self, data: bytes) -> bytes:
        more = self._socket.recv(LARGEST)
        if not more:
            raise SystemExit(f"the server hung up after {data[:200]!r}")
        return data + more


@dataclass(slots=True)
class Load:
    """What a round of load gave: rows a second, seconds of each request, cores that the client itself took."""

    rows_s: float = 0.0
    seconds: list[float] = field(default_factory=list)
    client_cores: float = 0.0


def load(url: str, wires: Sequence[bytes], rows: int, connections: int, seconds: float) -> Load:
    """`connections` ask at the same time, each the next request as soon as it has its answer; `rows` a request."""
    found, lock, failures = Load(), threading.Lock(), list[BaseException]()
    end = time.perf_counter() + seconds

    def ask(first: int) -> None:
        own, place = [], first
        try:
            connection = Connection(url)
            while (start := time.perf_counter()) < end:
                connection.ask(wires[place % len(wires)])
                own.append(time.perf_counter() - start)
                place += connections
            connection.close()
        except BaseException as error:
            failures.append(error)
        with lock:
            found.seconds += own

    began, used = time.perf_counter(), time.process_time()
    threads = [threading.Thread(target=ask, args=(number,)) for number in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    took = time.perf_counter() - began
    found.rows_s = rows * len(found.seconds) / took
    found.client_cores = (time.process_time() - used) / took
    return found


@contextmanager
def process(
    command: Sequence[str], environment: dict[str, str] | None = None, *, quiet: bool = False
) -> Iterator[subprocess.Popen[str]]:
    """A server process until the block ends, its children too. `quiet` drops all that it says."""
    heard = subprocess.DEVNULL if quiet else subprocess.PIPE
    running = subprocess.Popen(
        command,
        stdout=heard,
        stderr=subprocess.DEVNULL if quiet else None,
        text=True,
        env=environment,
        start_new_session=True,
    )
    try:
        yield running
    finally:
        running.terminate()
        with suppress(subprocess.TimeoutExpired):
            running.wait(20)
        with suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)  # LitServe's workers outlive a terminated parent
        running.wait()
        if running.stdout is not None:
            running.stdout.close()


@contextmanager
def serving(bundle: Path, *options: str) -> Iterator[tuple[str, int]]:
    """`svfit serve` on a free port, without a log; its address and its process's number."""
    command = [str(Path(sys.executable).with_name("svfit")), "serve", str(bundle), "--port", "0", "--json"]
    with process([*command, "--set", "log=none", *options]) as running:
        assert running.stdout is not None  # noqa: S101
        line = running.stdout.readline()
        if not line:
            raise SystemExit("svfit serve did not start")
        yield json.loads(line)["url"], running.pid
