"""The library's door: one resident backbone, many adapters, each row answered by the adapter it asks for."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from serve.adapters.listing import Pinned
from serve.adapters.shelf import Ref, Shelf
from serve.answers import Answer
from serve.batching.queueing import in_batches
from serve.bundle import Bundle
from serve.encoder import open_encoder
from serve.engine import Answering, Backbone, Engine, MergedEngine, not_finite
from serve.errors import InputError, UsageError
from serve.machine import give_back_memory
from serve.pieces import Output, Piece, Prepared, Row, length
from serve.profile import Profile, chosen
from serve.promotion.promote import Policy, Promoter
from serve.tasks import task_of
from serve.tasks.task import Asked
from serve.tokenize import TextTokenizer


class Runtime(Shelf):
    """A bundle's variant and all its adapters, ready to answer. Every method may be called from many threads at once.

    `Shelf` has what concerns the adapters: `pin`, `list`, `show`, `add`, `remove`, `rename`, `set_default`, `rollback`,
    `promote`, `demote`, `promoted`.
    """

    def __init__(
        self,
        bundle: Bundle | Path | str,
        *,
        state: Path | str | None = None,
        variant: str | None = None,
        threads: int | None = None,
        profile: Profile | None = None,
        adapters_mb: float = 256.0,
        promote: Policy = "never",
        promote_mb: float = 512.0,
    ) -> None:
        """Load a bundle; a path is opened and checked first.

        `profile` is what `svfit tune` found for it here (`serve.profile.find`); variant and threads that are given win.
        `state` is the folder of adapters that come later (None: `state` in the bundle, made when one comes).
        `adapters_mb` MiB of adapters stay in memory; the least recently used leave, and come back from disk.
        `promote` gives hot adapters ("auto") or those named a session of their own within `promote_mb` MiB.
        Raises InputError; UsageError: threads < 1, adapters_mb < 0, a promotion that can't be.
        """
        if not adapters_mb >= 0:
            raise UsageError(f"adapters_mb must be at least 0 (got {adapters_mb})")
        opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
        name, settings = chosen(profile, variant, threads)
        self.variant = opened.manifest.variant(name)
        name = self.variant.name
        self._encoder = open_encoder(opened)
        load = MergedEngine if opened.manifest.swap is None else Engine
        self._engine: Answering = load(opened, self._encoder, name, settings)
        promoter = Promoter(opened, name, policy=promote, budget_mb=promote_mb, settings=settings)
        super().__init__(opened, None if state is None else Path(state), adapters_mb, promoter)
        self._lock = threading.Lock()
        self._swaps, self._last = 0, frozenset[int]()
        give_back_memory()  # a graph's file and what optimizing it took, some MB

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def predict(
        self, inputs: Row | Sequence[Row], adapter: Ref | Sequence[Ref] = None, batch_size: int = 16
    ) -> list[Answer]:
        """Answers in the order of the rows, none for none.

        `inputs` is one row or several (a tuple of two texts is one row where the adapter takes pairs); `adapter`
        answers all, or is one for each row. Rows of like length share a batch, whatever their adapters. Rows that
        name an adapter alike get the same version of it.
        Raises InputError (a row, an answer that is no number), NotFound (an adapter), UsageError (counts).
        """
        rows, pins = self._asked(inputs, adapter)
        ready = [
            self.prepare(row, pin, f"row {place + 1}") for place, (row, pin) in enumerate(zip(rows, pins, strict=True))
        ]
        pieces = [(piece, pin) for row, pin in zip(ready, pins, strict=True) for piece in row.pieces]

        def run(places: Sequence[int]) -> list[Output]:
            return self.run([pieces[place][0] for place in places], [pieces[place][1] for place in places])

        return self.answers(ready, pins, in_batches(run, [piece for piece, _ in pieces], batch_size))

    def prepare(self, row: Row, pinned: Pinned, where: str = "a row") -> Prepared:
        """A row, checked and encoded as its adapter takes it. Raises InputError that begins with `where`."""
        loaded = pinned.loaded
        taker = "this bundle" if self._registry is None else f"adapter {pinned.tag}"
        asked = Asked(loaded.texts, loaded.max_length, where, taker)
        return task_of(loaded.task).prepare(self._encoder, row, asked)

    def run(self, pieces: Sequence[Piece], pins: Sequence[Pinned]) -> list[Output]:
        """One batch: an output for each piece, in order, as its task has it. They may hold NaN: see `answers`.

        Rows of a promoted adapter run in its own session, the others together.
        Raises InputError where a graph fails.
        """
        self._count_swaps(pins)
        shares = self._shares(pins)
        if len(shares) == 1:
            return self._engine.run(pieces, [pin.loaded for pin in pins], shares[0][1])
        answers: list[Any] = [None] * len(pins)
        for places, backbone in shares:
            adapters = [pins[place].loaded for place in places]
            rows = self._engine.run([pieces[place] for place in places], adapters, backbone)
            for place, row in zip(places, rows, strict=True):
                answers[place] = row
        return answers

    def answers(self, rows: Sequence[Prepared], pins: Sequence[Pinned], outputs: Sequence[Output]) -> list[Answer]:
        """Answers in the order of the rows, of the outputs of all their pieces.

        Raises InputError that names the adapter where an output holds NaN or infinities.
        """
        found, first = [], 0
        for row, pin in zip(rows, pins, strict=True):
            own = outputs[first : first + len(row.pieces)]
            first += len(row.pieces)
            if not all(np.isfinite(output).all() for output in own):
                raise InputError(not_finite(pin.tag))
            given = task_of(pin.loaded.task).decide(own, row, pin.loaded.labels)
            found.append(Answer.of(given, pin.tag, sum(map(length, row.pieces))))
        return found

    def whole_length(self, text: str) -> int:
        """Tokens of a text before any cut, special tokens included. Raises InputError for a bundle of images."""
        if not isinstance(self._encoder, TextTokenizer):
            raise InputError("this bundle takes no text")
        return self._encoder.whole_length(text)

    def stats(self) -> dict[str, int]:
        """`adapters` in memory, their `bytes`, and how many are `promoted`; since the start, `loads` from disk,
        `evictions` from memory, and `swaps`: adapters that a batch had and the one before it hadn't."""
        held = self._cache.stats()
        return {
            "adapters": held.adapters,
            "bytes": held.nbytes,
            "loads": held.loads,
            "evictions": held.evictions,
            "swaps": self._swaps,
            "promoted": len(self._promoter.promoted()),
        }

    def _asked(self, inputs: Row | Sequence[Row], adapter: Ref | Sequence[Ref]) -> tuple[list[Row], list[Pinned]]:
        """Rows, and for each the version that answers it."""
        one = adapter is None or isinstance(adapter, str | Pinned)
        refs: Sequence[Ref] = [adapter] if adapter is None or isinstance(adapter, str | Pinned) else adapter
        found = {ref: self.pin(ref) for ref in dict.fromkeys(refs)}
        pins = [found[ref] for ref in refs]
        pair = isinstance(inputs, tuple) and len(inputs) == 2 and bool(pins) and pins[0].loaded.texts == 2
        image = isinstance(inputs, bytes) or (isinstance(inputs, np.ndarray) and inputs.ndim == 3)
        if image or isinstance(inputs, str) or (pair and all(isinstance(text, str) for text in inputs)):
            rows: list[Any] = [inputs]
        else:
            rows = list(inputs)
        if not one and len(pins) != len(rows):
            raise UsageError(f"{len(pins)} adapters for {len(rows)} rows; give one for all, or one for each row")
        return rows, pins * len(rows) if one else pins

    def _count_swaps(self, pins: Sequence[Pinned]) -> None:
        now = frozenset(id(pin.loaded) for pin in pins)
        with self._lock:
            self._swaps += len(now - self._last)
            self._last = now

    def _shares(self, pins: Sequence[Pinned]) -> list[tuple[list[int], Backbone | None]]:
        """The places of a batch that run together, and in which session; None is the graph that all share."""
        groups: dict[int, list[int]] = {}
        for place, pin in enumerate(pins):
            groups.setdefault(id(pin.loaded), []).append(place)
        shares: list[tuple[list[int], Backbone | None]] = []
        rest: list[int] = []
        for places in groups.values():
            pin = pins[places[0]]
            self._promoter.saw(pin.name, pin.loaded, len(places))
            backbone = self._promoter.session_for(pin.loaded)
            if backbone is None:
                rest += places
            else:
                shares.append((places, backbone))
        return [(sorted(rest), None), *shares] if rest or not shares else shares
