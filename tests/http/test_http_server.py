"""`svfit serve` as a process: start, load, drain, exit; TLS; what stops it before it starts."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from http_desk import until

ROOT = Path(__file__).parents[2]
SLOW = """
import os, time
from pathlib import Path
from serve.runtime import Runtime
load, run = Runtime.__init__, Runtime.run
def loading(self, *args, **kwargs):
    while not Path(os.environ["MAY_LOAD"]).exists():
        time.sleep(0.01)
    load(self, *args, **kwargs)
def running(self, *args):
    time.sleep(float(os.environ["RUN_SECONDS"]))
    return run(self, *args)
Runtime.__init__, Runtime.run = loading, running
from pipeline.cli import main
main()
"""
"""The command, with a model that loads once a file is there, and batches that take as long as they are told."""


APART = ("fan", "fan " * 7, "fan " * 13)
"""Texts whose lengths differ too much to share a batch."""


@dataclass
class Running:
    process: subprocess.Popen[str]
    log: Path
    may_load: Path
    started: dict[str, Any] = field(default_factory=dict)

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.log.read_text().splitlines(keepends=True) if line.endswith("\n")]
        return [line for line in lines if line["event"] == name]

    def wait_ready(self) -> str:
        self.may_load.touch()
        assert self.process.stdout is not None
        self.started = json.loads(self.process.stdout.readline())
        return str(self.started["url"])

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


@contextlib.contextmanager
def running(
    bundle: Path, folder: Path, *options: str, run_seconds: float = 0.0, **environment: str
) -> Iterator[Running]:
    may_load, log = folder / "may-load", folder / "log"
    settings = {"OMP_NUM_THREADS": "1", "MAY_LOAD": str(may_load), "RUN_SECONDS": str(run_seconds), **environment}
    state = ["--state", str(folder / "state")]
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-c", SLOW, "serve", str(bundle), "--port", "0", "--json", *state, *options],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            cwd=ROOT,
            env={**os.environ, **settings},
        )
    try:
        yield Running(process, log, may_load)
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def ask(url: str, path: str, body: Any = None) -> tuple[int, Any]:
    """Status and document of one request."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{url}{path}", data)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_it_is_live_while_it_loads_and_ready_once_it_has(site: Path, tmp_path: Path) -> None:
    with running(site, tmp_path) as server:
        until(lambda: bool(server.events("loading")))
        url = server.events("loading")[0]["url"]
        assert ask(url, "/v1/health/live") == (200, {"live": True})
        assert ask(url, "/v1/health/ready") == (503, {"ready": False, "state": "starting"})
        status, told = ask(url, "/v1/predict", {"text": "fan"})
        assert (status, told) == (503, {"error": "the model is still loading; try again in a moment"})
        assert server.wait_ready() == url
        assert server.started == {"url": url, "grpc": None, "bundle": "tiny", "variant": "fp32", "adapters": 2}
        assert ask(url, "/v1/health/ready")[0] == 200
        assert ask(url, "/v1/predict", {"text": "fan"})[0] == 200
        assert server.stop() == 0


def test_sigterm_finishes_what_is_under_way_takes_nothing_new_and_exits_with_0(site: Path, tmp_path: Path) -> None:
    with running(site, tmp_path, run_seconds=3.0) as server, ThreadPoolExecutor() as pool:
        url = server.wait_ready()
        host, port = url.partition("://")[2].split(":")
        asked = [pool.submit(ask, url, "/v1/predict", {"text": text}) for text in APART]
        with socket.create_connection((host, int(port))) as kept:
            kept.sendall(b"GET /v1/health/ready HTTP/1.1\r\nHost: x\r\n\r\n")
            assert answer_on(kept).startswith(b"HTTP/1.1 200")
            until(lambda: "svfit_queue_rows 1.0" in text_of(url, "/metrics"))  # two workers have the others
            body = b'{"text": "the pump"}'
            begun = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
            kept.sendall(begun + body[:5])  # a request that has begun when the signal comes
            until(lambda: ask(url, "/v1/health/live")[0] == 200)
            server.process.send_signal(signal.SIGTERM)
            until(lambda: bool(server.events("stopping")))
            kept.sendall(body[5:])
            assert answer_on(kept).startswith(b"HTTP/1.1 200")
        until(lambda: not connects(host, int(port)))
        assert [answer.result()[0] for answer in asked] == [200, 200, 200]
        assert server.process.wait(20) == 0
        assert len(server.events("stopped")) == 1


def answer_on(connection: socket.socket) -> bytes:
    """One answer with a body in JSON, in however many packets."""
    connection.settimeout(20)
    data = b""
    while not data.endswith(b"}"):
        chunk = connection.recv(65536)
        assert chunk, data
        data += chunk
    return data


def connects(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port)).close()
    except ConnectionError:
        return False
    return True


def test_what_takes_longer_than_the_drain_gets_503_and_the_exit_is_0_all_the_same(site: Path, tmp_path: Path) -> None:
    options = ("--set", "drain_seconds=1", "--set", "workers=1")
    with running(site, tmp_path, *options, run_seconds=4.0) as server, ThreadPoolExecutor() as pool:
        url = server.wait_ready()
        asked = [pool.submit(ask, url, "/v1/predict", {"text": text}) for text in APART[:2]]
        until(lambda: "svfit_queue_rows 1.0" in text_of(url, "/metrics"))
        assert server.stop() == 0
        for answer in asked:
            status, told = answer.result()
            assert (status, told["error"]) == (503, "the server stopped before this was answered; try another one")


def text_of(url: str, path: str) -> str:
    with urllib.request.urlopen(f"{url}{path}", timeout=20) as answer:  # noqa: S310
        return str(answer.read().decode())


def test_sigterm_while_it_loads_ends_with_0(site: Path, tmp_path: Path) -> None:
    with running(site, tmp_path) as server:
        until(lambda: bool(server.events("loading")))
        server.process.send_signal(signal.SIGTERM)
        until(lambda: bool(server.events("stopping")))
        server.may_load.touch()
        assert server.process.wait(20) == 0
        assert server.process.stdout is not None
        assert server.process.stdout.read() == ""


def test_keys_come_from_the_environment_and_are_asked_for(site: Path, tmp_path: Path) -> None:
    keys = {"SVFIT_API_KEY": "a-key-that-asks-1", "SVFIT_ADMIN_KEY": "a-key-that-changes"}
    with running(site, tmp_path, **keys) as server:
        url = server.wait_ready()
        assert ask(url, "/v1/predict", {"text": "fan"})[0] == 401
        assert ask(url, "/v1/health/ready")[0] == 200
        assert server.stop() == 0
    assert not any(key in server.log.read_text() for key in keys.values())


def test_beyond_loopback_without_keys_it_warns(site: Path, tmp_path: Path) -> None:
    with running(site, tmp_path, "--host", "0.0.0.0") as server:  # noqa: S104
        url = server.wait_ready().replace("0.0.0.0", "127.0.0.1")  # noqa: S104
        assert any("SVFIT_API_KEY" in line["event"] for line in warnings(server))
        assert ask(url, "/v1/adapters/alpha/rollback", {})[0] == 403
        assert server.stop() == 0


def warnings(server: Running) -> list[dict[str, Any]]:
    return [line for line in map(json.loads, server.log.read_text().splitlines()) if line["level"] == "warning"]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificate with openssl")
def test_tls_by_certificate_files(site: Path, tmp_path: Path) -> None:
    import ssl

    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    subprocess.run([*made, *names], check=True, capture_output=True)
    with running(site, tmp_path, "--set", f"tls_cert={cert}", "--set", f"tls_key={key}") as server:
        url = server.wait_ready()
        assert url.startswith("https://")
        context = ssl.create_default_context(cafile=str(cert))
        with urllib.request.urlopen(f"{url}/v1/health/ready", context=context) as answer:  # noqa: S310
            assert answer.status == 200
        assert server.stop() == 0
