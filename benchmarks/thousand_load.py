"""Swaps under load for thousand.py: through the library's runtime and scheduler, or over HTTP."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from common import LABELS, Files, percentile, small_adapters, texts
from numpy.typing import NDArray
from web import Connection, form, wire

from serve.answers import softmax
from serve.batching.scheduler import Scheduler
from serve.runtime import Runtime

CLIENTS, SWAPPED, TEXTS = 4, 20, 16
CLOSE = 1e-4  # of probabilities: the rows of a batch are summed in another order than a row alone
Told = tuple[str, NDArray[np.float64]]
"""Which version answered, as name@version, and every label's probability."""


class Door(Protocol):
    """Where adapters are asked and changed."""

    def ask(self, name: str, text: str) -> Told: ...
    def add(self, files: Files, name: str) -> None: ...
    def rollback(self, name: str) -> None: ...
    def set_default(self, name: str, version: int) -> None: ...
    def remove(self, name: str, version: int) -> None: ...


class Library:
    """The runtime and a scheduler of two workers, in this process."""

    def __init__(self, runtime: Runtime, scheduler: Scheduler) -> None:
        self._runtime, self._scheduler = runtime, scheduler

    def ask(self, name: str, text: str) -> Told:
        pinned = self._runtime.pin(name)
        (logits,) = self._scheduler.submit([(self._runtime.prepare(text, pinned).pieces[0], pinned)]).future.result(60)
        return pinned.tag, softmax(logits)

    def add(self, files: Files, name: str) -> None:
        self._runtime.add(files, name)

    def rollback(self, name: str) -> None:
        self._runtime.rollback(name)

    def set_default(self, name: str, version: int) -> None:
        self._runtime.set_default(name, version)

    def remove(self, name: str, version: int) -> None:
        self._runtime.remove(f"{name}@{version}")


class Web:
    """A server, a connection for each thread."""

    def __init__(self, url: str) -> None:
        self._url, self._held = url, threading.local()

    def ask(self, name: str, text: str) -> Told:
        answer = self._send("POST", "/v1/predict", json.dumps({"adapter": name, "text": text}).encode())
        (result,) = json.loads(answer)["results"]
        return result["adapter"], np.array([result["probabilities"][label] for label in LABELS])

    def add(self, files: Files, name: str) -> None:
        body, kind = form(dict(zip(("adapter.json", "adapter.safetensors"), files, strict=True)))
        self._send("POST", f"/v1/adapters/{name}", body, kind)

    def rollback(self, name: str) -> None:
        self._send("POST", f"/v1/adapters/{name}/rollback")

    def set_default(self, name: str, version: int) -> None:
        self._send("PUT", f"/v1/adapters/{name}/default", json.dumps({"version": version}).encode())

    def remove(self, name: str, version: int) -> None:
        self._send("DELETE", f"/v1/adapters/{name}/versions/{version}")

    def _send(self, method: str, path: str, body: bytes = b"", kind: str = "application/json") -> bytes:
        if not hasattr(self._held, "connection"):
            self._held.connection = Connection(self._url)
        connection: Connection = self._held.connection
        return connection.ask(wire(method, path, body, kind))


class Swapping:
    """Twenty names whose versions come and go. Each name has two contents, which take turns as versions are added.

    `wanted` holds what each version must answer for each of `texts`, told before the version exists.
    """

    def __init__(self, runtime: Runtime, door: Door) -> None:
        self.texts = texts(TEXTS)
        self.names = [f"swapped-{number}" for number in range(SWAPPED)]
        self.wanted: dict[str, list[NDArray[np.float64]]] = {}
        self.swaps, self._door = 0, door
        made = list(small_adapters(runtime.bundle, 2 * SWAPPED))
        self._files = {name: made[2 * number : 2 * number + 2] for number, name in enumerate(self.names)}
        self._contents = {
            name: [expected(runtime, files, self.texts) for files in pair] for name, pair in self._files.items()
        }
        for name in self.names:
            self._add(name, 1)
        self._turns = itertools.count(2)

    def change(self, most: int, pause: float, stop: threading.Event) -> None:
        """At most `most` changes of what a name answers, `pause` seconds after each; versions not needed are removed.

        A turn of a name: a version is added, the one before it is the default again, the new one is again.
        """
        done = 0
        for turn in self._turns:
            for name in self.names:
                for step in (
                    lambda name=name, turn=turn: self._add(name, turn),
                    lambda name=name: self._door.rollback(name),
                    lambda name=name, turn=turn: self._door.set_default(name, turn),
                ):
                    step()
                    done += 1
                    self.swaps += 1
                    stop.wait(pause)
                if turn > 2:
                    self._door.remove(name, turn - 2)
            if done >= most or stop.is_set():
                return

    def _add(self, name: str, version: int) -> None:
        self.wanted[f"{name}@{version}"] = self._contents[name][version % 2]
        self._door.add(self._files[name][version % 2], name)


@dataclass(slots=True)
class Heard:
    """What the clients got: seconds of each answer, answers that were wrong, requests that failed and how."""

    seconds: list[float] = field(default_factory=list)
    wrong: int = 0
    failures: list[str] = field(default_factory=list)


def listen(door: Door, swapping: Swapping, until: Callable[[], bool]) -> Heard:
    """Clients ask one row after the other, any name and text, until `until()`."""
    heard, lock = Heard(), threading.Lock()

    def ask(seed: int) -> None:
        random = np.random.default_rng(seed)
        while not until():
            name, place = str(random.choice(swapping.names)), int(random.integers(TEXTS))
            start = time.perf_counter()
            try:
                tag, shares = door.ask(name, swapping.texts[place])
                wrong = bool(np.abs(shares - swapping.wanted[tag][place]).max() > CLOSE)
                failure = ""
            except (Exception, SystemExit) as error:  # whatever it is, it is a failed request
                wrong, failure = False, f"{type(error).__name__}: {error}"
            taken = time.perf_counter() - start
            with lock:
                heard.seconds.append(taken)
                heard.wrong += wrong
                if failure:
                    heard.failures.append(failure)

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return heard


def under_load(runtime: Runtime, door: Door, count: int, rounds: int, seconds: float) -> dict[str, Any]:
    """Rounds without swaps and with some take turns, until `count` swaps are done."""
    swapping = Swapping(runtime, door)
    listen(door, swapping, timer(2.0))
    quiet, busy = [], []
    for number in range(rounds):
        quiet.append(listen(door, swapping, timer(seconds)))
        part = -(-count * (number + 1) // rounds) - swapping.swaps
        stop = threading.Event()
        swapper = threading.Thread(target=swapping.change, args=(part, seconds / max(1, part), stop))
        swapper.start()
        busy.append(listen(door, swapping, lambda swapper=swapper: not swapper.is_alive()))
        swapper.join()
    every = [*quiet, *busy]
    p99 = [[percentile(one.seconds, 99) for one in rounds] for rounds in (quiet, busy)]
    p50 = [[percentile(one.seconds, 50) for one in rounds] for rounds in (quiet, busy)]
    return {
        "swaps": swapping.swaps,
        "answers": sum(len(one.seconds) for one in every),
        "answers_while_swapping": sum(len(one.seconds) for one in busy),
        "wrong": sum(one.wrong for one in every),
        "failed": sum(len(one.failures) for one in every),
        "failures": [failure for one in every for failure in one.failures][:5],
        "p99_quiet_ms": p99[0],
        "p99_swapping_ms": p99[1],
        "p99_ratio": round(float(np.median(np.divide(p99[1], p99[0]))), 3),
        "p50_ratio": round(float(np.median(np.divide(p50[1], p50[0]))), 3),
    }


def timer(seconds: float) -> Callable[[], bool]:
    end = time.monotonic() + seconds
    return lambda: time.monotonic() >= end


def expected(runtime: Runtime, files: Files, rows: list[str]) -> list[NDArray[np.float64]]:
    """What an adapter answers for each row alone, under a name that nobody else asks for."""
    runtime.add(files, "expected")
    pinned = runtime.pin("expected")
    return [softmax(runtime.run(runtime.prepare(row, pinned).pieces, [pinned])[0]) for row in rows]
