"""A swappable bundle's graphs at work: one padded batch through the backbone, each adapter's rows through its head."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from serve.adapters.adapter import LoadedAdapter, read_adapter
from serve.bundle import Bundle
from serve.errors import InputError
from serve.manifest import Inputs
from serve.pieces import Encoder, Output, Piece
from serve.session import (
    Feeds,
    GraphSession,
    Session,
    check_inputs,
    check_outputs,
    load,
    open_session,
    run_graph,
    session_options,
)
from serve.settings import SINGLE, USUAL, Settings
from serve.swap import CLASSES, HeadSpec, SwapSpec

Arrays = dict[str, NDArray[Any]]
Backbone = Callable[[Arrays], Arrays]
"""Feeds, each int64 (batch, sequence) and without sigma, to the boundary's tensors by name, batch first."""


class Answering(Protocol):
    """What a Runtime runs: pieces and an adapter for each, to an output for each."""

    def run(
        self, pieces: Sequence[Piece], adapters: Sequence[LoadedAdapter], backbone: Backbone | None = None
    ) -> list[Output]: ...


class Engine:
    """A variant of a swappable bundle, loaded. Safe to run from many threads at once."""

    def __init__(
        self, bundle: Bundle, encoder: Encoder, variant: str | None = None, settings: Settings = USUAL
    ) -> None:
        """Load the backbone, by these settings, and the heads (one thread each: they are small).

        Raises InputError where a graph can't be loaded, or isn't what the manifest says.
        """
        manifest = bundle.manifest
        if manifest.swap is None:
            raise InputError(f"bundle {bundle.path}: is merged and has no adapters to swap")
        self._swap = manifest.swap
        self._encoder = encoder
        self._path = bundle.file(manifest.variant(variant).file)
        self._outputs = list(manifest.swap.outputs)
        self._backbone = _load_backbone(self._path, manifest.input, manifest.swap, settings)
        self._heads = {spec.name: _Head(bundle.file(spec.file), spec) for spec in manifest.swap.heads}

    def run(
        self, pieces: Sequence[Piece], adapters: Sequence[LoadedAdapter], backbone: Backbone | None = None
    ) -> list[Output]:
        """Each piece's output, float32 (width of its adapter,) or (tokens, width), in order, from one padded batch.

        Rows that share an adapter object share its sigma and one run of its head. `backbone` answers in place of the
        swappable one where all rows have the one adapter that is folded into it. NaN and infinities are passed on.
        Raises InputError where a graph fails.
        """
        if not pieces:
            return []
        groups: dict[int, list[int]] = {}
        for place, adapter in enumerate(adapters):
            groups.setdefault(id(adapter), []).append(place)
        padded = self._run(self._encoder.pad(pieces), adapters, list(groups.values()), backbone)
        answers = [
            self._encoder.split(row[None], [piece])[0] if row.ndim > 1 else row
            for row, piece in zip(padded, pieces, strict=True)
        ]
        if len(groups) > 1 and not all(np.isfinite(row).all() for row in answers):
            # an int8 graph scales by the batch: one adapter's NaN reaches its neighbours' rows, so each gets its own
            for places in groups.values():
                alone = [pieces[place] for place in places]
                for place, row in zip(places, self.run(alone, [adapters[places[0]]] * len(places)), strict=True):
                    answers[place] = row
        return answers

    def feed(self, feeds: Feeds, adapter: LoadedAdapter) -> NDArray[np.float32]:
        """One adapter's outputs, float32 (batch, width) or (batch, sequence, width), for a padded batch."""
        rows = len(next(iter(feeds.values())))
        return np.stack(self._run(feeds, [adapter] * rows, [list(range(rows))], None))

    def _run(
        self, feeds: Feeds, adapters: Sequence[LoadedAdapter], groups: list[list[int]], backbone: Backbone | None
    ) -> list[NDArray[np.float32]]:
        if backbone is None:
            sigma = adapters[0].reference if len(groups) == 1 else np.stack([one.sigma for one in adapters])
            results = run_graph(self._backbone, self._path, self._outputs, {**feeds, self._swap.sigma: sigma})
            tensors: Arrays = {**feeds, **dict(zip(self._outputs, results, strict=True))}
        else:
            tensors = {**feeds, **backbone(dict(feeds))}
        if len(groups) == 1:
            return list(self._heads[adapters[0].head].run(tensors, adapters[0].weights))
        answers: list[Any] = [None] * len(adapters)
        for places in groups:
            adapter = adapters[places[0]]
            rows = self._heads[adapter.head].run(tensors, adapter.weights, places)
            for place, row in zip(places, rows, strict=True):
                answers[place] = row
        return answers


class MergedEngine:
    """A merged bundle's variant with the face of an Engine: the one adapter is in the graph already."""

    def __init__(
        self, bundle: Bundle, encoder: Encoder, variant: str | None = None, settings: Settings = USUAL
    ) -> None:
        self._encoder = encoder
        self._session: GraphSession = open_session(bundle, variant, settings)

    def run(
        self, pieces: Sequence[Piece], adapters: Sequence[LoadedAdapter], backbone: Backbone | None = None
    ) -> list[Output]:
        """As `Engine.run`; adapters and backbone don't matter. Raises InputError also for NaN and infinities."""
        return self._encoder.split(self._session.run(self._encoder.pad(pieces)), pieces) if pieces else []


class AdapterSession:
    """An Engine that answers with one adapter, with the face of a GraphSession."""

    def __init__(self, engine: Engine, adapter: LoadedAdapter, name: str) -> None:
        self._engine, self._adapter, self._name = engine, adapter, name

    def run(self, feeds: Feeds) -> NDArray[np.float32]:
        """As `GraphSession.run`."""
        logits = self._engine.feed(feeds, self._adapter)
        if not np.isfinite(logits).all():
            raise InputError(not_finite(self._name))
        return logits


def open_default(
    bundle: Bundle, encoder: Encoder, variant: str | None = None, settings: Settings = USUAL
) -> tuple[Session, int]:
    """A bundle's own adapter as sealed, ready to answer, and the tokens it takes: of a swappable bundle the first one.

    Raises InputError where it can't be loaded.
    """
    manifest = bundle.manifest
    if manifest.swap is None:
        return open_session(bundle, variant, settings), manifest.input.max_length
    name = manifest.swap.adapters[0]
    adapter = read_adapter(bundle.path / "adapters" / name, manifest, named=f"bundle {bundle.path}: adapter {name}")
    session = AdapterSession(Engine(bundle, encoder, variant, settings), adapter, name)
    return session, min(adapter.max_length or manifest.input.max_length, manifest.input.max_length)


def not_finite(adapter: str) -> str:
    """What is said of an adapter whose answer is no number."""
    return f"adapter {adapter}: its answer holds NaN or infinities; try an adapter trained with a lower learning rate"


class _Head:
    """One head's graph; adapters hand in their weights with each run."""

    def __init__(self, path: Path, spec: HeadSpec) -> None:
        self._session = load(path, session_options(SINGLE))
        self._path, self._inputs, self._outputs = path, spec.inputs, [spec.output]
        entries = (*self._session.get_inputs(), *self._session.get_overridable_initializers())
        have = {entry.name: entry for entry in entries}
        wanted = {*spec.inputs, *(weight.name for weight in spec.weights)}
        if set(have) != wanted:
            raise InputError(
                f"{path}: the graph takes {', '.join(sorted(have))}; the manifest says {', '.join(sorted(wanted))}"
            )
        for weight in spec.weights:
            entry = have[weight.name]
            sizes = [size if type(size) is int else CLASSES for size in entry.shape]
            if entry.type != "tensor(float)" or sizes != list(weight.shape):
                raise InputError(
                    f"{path}: {weight.name} is {entry.type} {sizes}; the manifest says tensor(float)"
                    f" {list(weight.shape)}"
                )
        check_outputs(self._session, path, (spec.output,))

    def run(
        self, tensors: Mapping[str, NDArray[Any]], weights: Mapping[str, NDArray[Any]], rows: list[int] | None = None
    ) -> NDArray[np.float32]:
        """Logits float32 (rows, classes) of these rows of the boundary's tensors; None is all of them."""
        if rows is None:
            feeds: Arrays = {name: tensors[name] for name in self._inputs}
        else:  # neighbours are a view, others a copy
            first, after = rows[0], rows[-1] + 1
            taken: Any = slice(first, after) if after - first == len(rows) else rows
            feeds = {name: tensors[name][taken] for name in self._inputs}
        feeds.update(weights)
        logits: NDArray[np.float32] = run_graph(self._session, self._path, self._outputs, feeds)[0]
        return logits


def _load_backbone(path: Path, inputs: Inputs, swap: SwapSpec, settings: Settings) -> Any:
    session = load(path, session_options(settings))
    check_inputs(session, path, inputs)
    check_outputs(session, path, swap.outputs)
    for entry in session.get_overridable_initializers():
        if entry.name == swap.sigma and entry.type == "tensor(float)" and entry.shape[1:] == [swap.width]:
            return session
    raise InputError(
        f"{path}: the graph has no input {swap.sigma!r}, tensor(float) (batch or 1, {swap.width}) with a default,"
        " as the manifest says"
    )
