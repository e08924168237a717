"""The whole server in a test's own process: a tiny bundle behind real routes, with runs that wait when told to."""

from __future__ import annotations

import contextlib
import io
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from starlette.testclient import TestClient

from serve.access import Access
from serve.batching.scheduler import Scheduler
from serve.config import ServeConfig
from serve.http.app import create_app
from serve.http.logs import Log
from serve.http.server import listen
from serve.runtime import Runtime
from serve.service import Service

PATIENCE = 30.0  # seconds; far more than anything here takes, on a busy machine too


class Gate:
    """A runner that passes on to a runtime, and waits before each batch while it is shut."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime, self._open = runtime, threading.Event()
        self._open.set()
        self.batches: list[int] = []

    def shut(self) -> None:
        self._open.clear()

    def open(self) -> None:
        self._open.set()

    def run(self, tokens: Sequence[Any], pins: Sequence[Any]) -> list[Any]:
        self.batches.append(len(tokens))
        assert self._open.wait(PATIENCE)
        return self._runtime.run(tokens, pins)


class Desk:
    """A service, its application, and what it logged."""

    def __init__(self, bundle: Path, access: Access | None = None, **settings: Any) -> None:
        config = ServeConfig(**settings)
        self.runtime = Runtime(bundle, state=config.state)
        self.gate = Gate(self.runtime)
        self.logged = io.StringIO()
        self.service = Service(None, None, config, access=access)
        self.app: FastAPI = create_app(self.service, log=Log(config.log, self.logged))
        self.scheduler = Scheduler(
            self.gate, workers=config.workers, queue_rows=config.queue_rows, on_batch=self.app.state.metrics.batch
        )
        self.service.open(self.runtime, self.scheduler)
        self.client = TestClient(self.app, base_url="http://localhost")

    def close(self) -> None:
        self.gate.open()
        self.client.close()
        self.scheduler.close()
        self.service.close()
        self.runtime.close()

    def metric(self, name: str, **labels: str) -> float:
        """A sample of /metrics; 0 where there is none."""
        return self.app.state.metrics.registry.get_sample_value(name, labels) or 0.0

    @contextlib.contextmanager
    def listening(self) -> Iterator[int]:
        """The same behind a real socket; its port."""
        with listen("127.0.0.1", 0) as listener:
            config = uvicorn.Config(self.app, log_config=None, lifespan="off", ws="none")
            server = uvicorn.Server(config)
            thread = threading.Thread(target=server.run, args=([listener],))
            thread.start()
            try:
                until(lambda: server.started)
                yield listener.getsockname()[1]
            finally:
                self.gate.open()
                server.should_exit = True
                thread.join(PATIENCE)


def until(true: Callable[[], bool]) -> None:
    """Wait for something that another thread does."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.005)
