"""A light HTTP client for the benchmarks: raw sockets that stay open, requests made beforehand, answers not parsed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

LARGEST = 2**20  # bytes read at once


def request(path: str, document: Any) -> bytes:
    """A POST as it goes over the wire."""
    body = json.dumps(document).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


class Connection:
    """One connection, kept alive. Raises SystemExit with the server's words for an answer that isn't 200."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._socket = socket.create_connection((str(parts.hostname), int(parts.port or 80)), timeout=120)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, wire: bytes) -> bytes:
        """Send a request made by `request`; the answer's body."""
        self._socket.sendall(wire)
        data = self._more(b"")
        while (end := data.find(b"\r\n\r\n")) < 0:
            data = self._more(data)
        head = data[:end].lower()
        length = int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        while len(data) < end + 4 + length:
            data = self._more(data)
        if not head.startswith(b"http/1.1 200"):
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
