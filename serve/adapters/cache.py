"""Adapters in memory: those in use stay within a budget, the least recently used leave."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from serve.adapters.adapter import LoadedAdapter


@dataclass(frozen=True, slots=True)
class CacheStats:
    """Adapters in memory now and their bytes; loads and evictions since the start."""

    adapters: int
    nbytes: int
    loads: int
    evictions: int


class AdapterCache:
    """Loaded adapters by the sha256 of their content. Safe to use from many threads at once.

    Who was given an adapter holds it: when it leaves here it lives on until they let go of it.
    """

    def __init__(self, budget: int) -> None:
        """`budget` in bytes (`LoadedAdapter.nbytes`). An adapter larger than all of it is loaded each time."""
        self._budget = budget
        self._lock = threading.Lock()
        self._held: OrderedDict[str, LoadedAdapter] = OrderedDict()
        self._loading: dict[str, Future[LoadedAdapter]] = {}
        self._nbytes = self._loads = self._evictions = 0

    def get(self, sha256: str, load: Callable[[], LoadedAdapter]) -> LoadedAdapter:
        """The adapter in memory, or what `load` gives: called once, however many ask at a time.

        Raises what `load` raises, to all who waited for it; the next to ask loads again.
        """
        with self._lock:
            held = self._held.get(sha256)
            if held is not None:
                self._held.move_to_end(sha256)
                return held
            waiting = self._loading.get(sha256)
            if waiting is None:
                mine: Future[LoadedAdapter] = Future()
                self._loading[sha256] = mine
        if waiting is not None:
            return waiting.result()
        try:
            loaded = load()
        except BaseException as error:
            with self._lock:
                del self._loading[sha256]
            mine.set_exception(error)
            raise
        with self._lock:
            del self._loading[sha256]
            self._loads += 1
            self._keep(sha256, loaded)
        mine.set_result(loaded)
        return loaded

    def discard(self, sha256: str) -> None:
        """Let go of an adapter, if it is here."""
        with self._lock:
            held = self._held.pop(sha256, None)
            self._nbytes -= held.nbytes if held is not None else 0

    def __contains__(self, sha256: str) -> bool:
        return sha256 in self._held

    def stats(self) -> CacheStats:
        with self._lock:
            return CacheStats(len(self._held), self._nbytes, self._loads, self._evictions)

    def _keep(self, sha256: str, loaded: LoadedAdapter) -> None:
        if loaded.nbytes > self._budget:
            return
        self._held[sha256] = loaded
        self._nbytes += loaded.nbytes
        while self._nbytes > self._budget:
            _, gone = self._held.popitem(last=False)
            self._nbytes -= gone.nbytes
            self._evictions += 1
