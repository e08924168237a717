"""The library's door: one resident backbone, many adapters, each row answered by the adapter it asks for."""

from __future__ import annotations

import builtins
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from serve.adapter import Files, LoadedAdapter
from serve.answers import Answer, checked_row, decide
from serve.bundle import Bundle
from serve.cache import AdapterCache
from serve.engine import Answering, Engine, MergedEngine, not_finite
from serve.errors import Conflict, InputError, NotFound, UsageError
from serve.listing import AdapterCard, AdapterInfo, Pinned, merged_adapter, merged_info, registered_info, with_card
from serve.registry import Registry
from serve.tokenize import Row, TextTokenizer, Tokens
from serve.versions import VersionRecord

Logits = NDArray[np.float32]
"""One row's raw output, (classes of its adapter,)."""
Ref = str | Pinned | None
"""Which adapter: "name" (the version that is its default then), "name@3", one pinned before, or the bundle's own."""


class Runtime:
    """A bundle's variant and all its adapters, ready to answer. Every method may be called from many threads at once.

    The bundle's own adapter is the default version of the first it was sealed with. A merged bundle has the one
    adapter that is folded into it, and takes no others: adding, removing and the like raise Conflict.
    """

    def __init__(
        self,
        bundle: Bundle | Path | str,
        *,
        state: Path | str | None = None,
        variant: str | None = None,
        threads: int | None = None,
        adapters_mb: float = 256.0,
    ) -> None:
        """Load a bundle; a path is opened and checked first.

        `state` is the folder of adapters that come later (None: `state` in the bundle, made when one comes).
        `adapters_mb` MiB of adapters stay in memory; the least recently used leave, and come back from disk.
        Raises InputError; UsageError: threads < 1, adapters_mb < 0.
        """
        if not adapters_mb >= 0:
            raise UsageError(f"adapters_mb must be at least 0 (got {adapters_mb})")
        self.bundle = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
        self.variant = self.bundle.manifest.variant(variant)
        self._tokenizer = TextTokenizer(self.bundle)
        self._cache = AdapterCache(int(adapters_mb * 2**20))
        self._lock = threading.Lock()
        self._swaps, self._last = 0, frozenset[int]()
        self._registry: Registry | None = None
        if self.bundle.manifest.swap is None:
            self._merged = merged_adapter(self.bundle.manifest)
            self._engine: Answering = MergedEngine(self.bundle, self._tokenizer, self.variant.name, threads=threads)
        else:
            self._registry = Registry(self.bundle, None if state is None else Path(state))
            self._engine = Engine(self.bundle, self._tokenizer, self.variant.name, threads=threads)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the state folder. What runs in other threads is finished."""
        if self._registry is not None:
            self._registry.close()

    def predict(
        self, inputs: Row | Sequence[Row], adapter: Ref | Sequence[Ref] = None, batch_size: int = 16
    ) -> builtins.list[Answer]:
        """Answers in the order of the rows, none for none.

        `inputs` is one row or several (a tuple of two texts is one row where the adapter takes pairs); `adapter`
        answers all, or is one for each row. Rows of like length share a batch, whatever their adapters. Rows that
        name an adapter alike get the same version of it.
        Raises InputError (a row, an answer that is no number), NotFound (an adapter), UsageError (counts).
        """
        if batch_size < 1:
            raise UsageError(f"batch size must be at least 1 (got {batch_size})")
        rows, pins = self._asked(inputs, adapter)
        tokens = [
            self.encode(row, pin, f"row {place + 1}") for place, (row, pin) in enumerate(zip(rows, pins, strict=True))
        ]
        order = sorted(range(len(rows)), key=lambda place: tokens[place].shape[1])
        answers: list[Any] = [None] * len(rows)
        for start in range(0, len(order), batch_size):
            places = order[start : start + batch_size]
            logits = self.run([tokens[place] for place in places], [pins[place] for place in places])
            for place, row in zip(places, logits, strict=True):
                answers[place] = self.answer(row, pins[place])
        return answers

    def pin(self, ref: Ref = None) -> Pinned:
        """The version that `ref` means now, loaded, and in memory for as long as whoever asked holds on to it.

        Raises NotFound; InputError where its files were damaged.
        """
        if isinstance(ref, Pinned):
            return ref
        if self._registry is None:
            return self._sole(ref)
        while True:
            record = self._registry.default() if ref is None else self._registry.resolve(ref)
            try:
                return self._loaded(self._registry, record)
            except NotFound:  # it was removed since: what does the name mean now?
                continue

    def encode(self, row: Row, pinned: Pinned, where: str = "a row") -> Tokens:
        """A row, checked and cut to the adapter's length, int64 (3, tokens).

        Raises InputError that begins with `where`.
        """
        loaded = pinned.loaded
        taker = "this bundle" if self._registry is None else f"adapter {pinned.tag}"
        return self._tokenizer.encode(checked_row(row, loaded.texts, where, taker), loaded.max_length)

    def run(self, tokens: Sequence[Tokens], pins: Sequence[Pinned]) -> builtins.list[Logits]:
        """One batch: logits float32 (classes of its adapter,) for each row, in order. They may hold NaN: see `answer`.

        Raises InputError where a graph fails.
        """
        adapters = [pin.loaded for pin in pins]
        self._count_swaps(adapters)
        return self._engine.run(tokens, adapters)

    def answer(self, logits: Logits, pinned: Pinned) -> Answer:
        """A row's logits to its answer. Raises InputError that names the adapter where they hold NaN or infinities."""
        if not np.isfinite(logits).all():
            raise InputError(not_finite(pinned.tag))
        given = decide(logits, pinned.loaded.labels)
        return Answer(given.label, given.score, given.probabilities, given.value, pinned.tag)

    def list(self) -> builtins.list[AdapterInfo]:
        """Every adapter, sorted by name, as its default version is."""
        if self._registry is None:
            return [merged_info(self._merged, self.bundle.manifest)]
        return [self._told(entry.default, entry.versions) for entry in self._registry.entries().values()]

    def show(self, ref: str | None = None) -> AdapterCard:
        """One adapter's default version, or the one asked for, with its card. Raises NotFound, InputError."""
        pinned = self.pin(ref)
        if self._registry is None:
            info = merged_info(pinned, self.bundle.manifest)
        else:
            info = self._told(self._registry.resolve(pinned.tag))
        return with_card(info, pinned.loaded.card)

    def add(self, source: Path | str | Files, name: str) -> AdapterInfo:
        """Take in an adapter, a folder or the bytes of its two files, as the next version and default of a name.

        It is checked whole first, and on the disk when this returns. Raises InputError, Conflict for a merged bundle.
        """
        registry = self._swappable()
        record = registry.add(name, Path(source) if isinstance(source, str) else source)
        self._loaded(registry, record)
        return self._told(record)

    def remove(self, ref: str) -> None:
        """Take out a name with all its versions, or one version that isn't the default. Requests under way are
        finished. Raises NotFound, Conflict."""
        for record in self._swappable().remove(ref):
            self._cache.discard(record.sha256)

    def rename(self, old: str, new: str) -> AdapterInfo:
        """Give a name's versions another name. Raises NotFound, InputError, Conflict where there is one."""
        return self._told(self._swappable().rename(old, new))

    def set_default(self, name: str, version: int) -> AdapterInfo:
        """Make a version the default of its name. Raises NotFound, Conflict for a merged bundle."""
        return self._told(self._swappable().set_default(name, version))

    def rollback(self, name: str) -> AdapterInfo:
        """Make the default of a name what it was before. Raises NotFound; Conflict where there was no other."""
        return self._told(self._swappable().rollback(name))

    def stats(self) -> dict[str, int]:
        """`adapters` in memory and their `bytes`; since the start, `loads` from disk, `evictions` from memory, and
        `swaps`: adapters that a batch had and the one before it hadn't."""
        held = self._cache.stats()
        return {
            "adapters": held.adapters,
            "bytes": held.nbytes,
            "loads": held.loads,
            "evictions": held.evictions,
            "swaps": self._swaps,
        }

    def _asked(
        self, inputs: Row | Sequence[Row], adapter: Ref | Sequence[Ref]
    ) -> tuple[builtins.list[Row], builtins.list[Pinned]]:
        """Rows, and for each the version that answers it."""
        one = adapter is None or isinstance(adapter, str | Pinned)
        refs: Sequence[Ref] = [adapter] if adapter is None or isinstance(adapter, str | Pinned) else adapter
        found = {ref: self.pin(ref) for ref in dict.fromkeys(refs)}
        pins = [found[ref] for ref in refs]
        pair = isinstance(inputs, tuple) and len(inputs) == 2 and bool(pins) and pins[0].loaded.texts == 2
        if isinstance(inputs, str) or (pair and all(isinstance(text, str) for text in inputs)):
            rows: builtins.list[Any] = [inputs]
        else:
            rows = builtins.list(inputs)
        if not one and len(pins) != len(rows):
            raise UsageError(f"{len(pins)} adapters for {len(rows)} rows; give one for all, or one for each row")
        return rows, pins * len(rows) if one else pins

    def _sole(self, ref: str | None) -> Pinned:
        if ref not in (None, self._merged.name, self._merged.tag):
            raise NotFound(f"no adapter {ref!r:.80}; this bundle is merged and has one: {self._merged.tag}")
        return self._merged

    def _swappable(self) -> Registry:
        if self._registry is None:
            raise Conflict(
                f"bundle {self.bundle.path}: is merged, its one adapter {self._merged.tag} stays as it is; for a bundle"
                ' that takes others, export with export.mode = "swappable"'
            )
        return self._registry

    def _loaded(self, registry: Registry, record: VersionRecord) -> Pinned:
        return Pinned(record.name, record.version, self._cache.get(record.sha256, lambda: registry.load(record)))

    def _told(self, record: VersionRecord, versions: Iterable[int] | None = None) -> AdapterInfo:
        if versions is None:
            versions = [one.version for one in self._swappable().versions(record.name)]
        return registered_info(record, versions, in_memory=record.sha256 in self._cache, promoted=False)

    def _count_swaps(self, adapters: Sequence[LoadedAdapter]) -> None:
        now = frozenset(map(id, adapters))
        with self._lock:
            self._swaps += len(now - self._last)
            self._last = now
