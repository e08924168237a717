"""A service that answers from a table, for the tests of the Open Inference Protocol's doors."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from fastapi import FastAPI
from starlette.testclient import TestClient

from serve.access import Access
from serve.answers import Answer
from serve.config import ServeConfig
from serve.errors import ClosingError, NotFound
from serve.http import errors, oip
from serve.service import Service

FOLDER = Path("bundle")
TASKS = {"alpha": ("yes", "no"), "beta": ("red", "green", "blue"), "delta": ("yes", "no"), "gamma": (), "site": ()}


class Desk:
    """A service and its runtime in one: adapters of TASKS, each with versions 1 and 2 (the default)."""

    def __init__(self, access: Access | None = None) -> None:
        self.state = "ready"
        self.access = access or Access()
        self.config = ServeConfig(max_body_mb=0.125)
        self.fails: Exception | None = None
        self.takes = 0.0
        self.cancelled = False
        self.asked: list[Any] = []
        self.changes: list[Any] = []
        self.names = dict.fromkeys(TASKS, 2)
        spec = SimpleNamespace(text=1)
        swap = SimpleNamespace(adapters=("alpha", "beta", "away"))
        self.bundle = SimpleNamespace(manifest=SimpleNamespace(name="site", input=spec, swap=swap), path=FOLDER)
        self.runtime = self

    def admit(self) -> None:
        if self.state != "ready":
            raise ClosingError("the server is stopping")

    async def at_runtime(self, work: Any) -> Any:
        return work(self)

    async def call(self, work: Any, *args: Any) -> Any:
        return work(*args)

    async def answer(self, rows: Sequence[Any], refs: Sequence[str | None], seconds: float | None) -> list[Answer]:
        self.asked.append((list(rows), list(refs), seconds))
        if self.fails is not None:
            raise self.fails
        try:
            await asyncio.sleep(self.takes)
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        return [self._one(ref or "alpha") for ref in refs]

    def _one(self, ref: str) -> Answer:
        card = self.show(ref)
        tag = f"{card.name}@{card.version}"
        if not card.labels:
            return Answer("text-regression", score=2.5, value=2.5, adapter=tag)
        shares = dict(zip(card.labels, np.linspace(0.5, 0.25, len(card.labels)).tolist(), strict=True))
        return Answer("text-classification", card.labels[0], 0.5, shares, adapter=tag)

    def show(self, ref: str) -> Any:
        name, _, version = ref.partition("@")
        if name not in self.names or version not in ("", "1", "2"):
            raise NotFound(f"no adapter {ref}")
        card = {"texts": 2} if name == "delta" else {}
        task = "text-classification" if TASKS[name] else "text-regression"
        version = int(version or 2)
        return SimpleNamespace(name=name, version=version, versions=(1, 2), task=task, labels=TASKS[name], card=card)

    def list(self) -> list[Any]:
        return [self.show(name) for name in self.names]

    def add(self, *what: Any) -> None:
        self.changes.append(what)

    def remove(self, name: str) -> None:
        self.show(name)
        del self.names[name]


class _Door:
    """What the routes are made for: whichever desk is open now."""

    desk: Desk

    def __getattr__(self, name: str) -> Any:
        return getattr(self.desk, name)


@functools.cache
def _app(door: _Door) -> FastAPI:
    app = FastAPI()
    oip.add_routes(app, cast(Service, door))
    errors.install(app)
    return app


_DOOR = _Door()


def client_of(desk: Desk) -> TestClient:
    """A client of the protocol's HTTP routes on a desk, without what stands in front of them in the server.

    One desk at a time: the routes are made once, as that takes a while.
    """
    _DOOR.desk = desk
    return TestClient(_app(_DOOR))
