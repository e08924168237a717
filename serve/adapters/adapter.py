"""An adapter as it is served: its files held to the bundle's manifest, its values laid out as the graphs take them."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from serve.errors import InputError
from serve.manifest import Manifest
from serve.record import Record
from serve.swap import CLASSES, HeadSpec, SwapSpec
from serve.tasks import TASKS, TaskName, task_of
from serve.tensors import MAX_HEADER_BYTES, Tensors, read_bounded, read_tensors

FORMAT, FORMAT_VERSION = "svfit-adapter", 1
CORES = ("diagonal", "banded", "dense")
DOCUMENT, TENSORS = "adapter.json", "adapter.safetensors"
MAX_DOCUMENT_BYTES = 16 * 2**20
MAX_LABELS = 100_000

Files = tuple[bytes, bytes]
"""The bytes of adapter.json and of adapter.safetensors."""


@dataclass(frozen=True, slots=True, eq=False)
class LoadedAdapter:
    """What one adapter feeds to the graphs of its bundle; equal only to itself. Its arrays can't be written to.

    `sigma` float32 (R,) goes into the backbone, `weights` float32 (as `HeadSpec.weights`) into the head's graph.
    `labels` are in the order of the logits, none for regression. `texts` a row takes, cut at `max_length` tokens
    (None: as the bundle says). `dropped` is the share of what it learned (Σδ², the mean over the layers) on
    directions that this bundle's graph doesn't carry. `nbytes` is what it all takes in memory.
    """

    task: TaskName
    labels: tuple[str, ...]
    sigma: npt.NDArray[np.float32] = field(repr=False)
    head: str
    weights: Mapping[str, npt.NDArray[np.float32]] = field(repr=False)
    texts: int
    max_length: int | None
    card: dict[str, Any] = field(repr=False)
    dropped: float
    nbytes: int

    @property
    def reference(self) -> npt.NDArray[np.float32]:
        """`sigma` as the backbone takes it for a whole batch: float32 (1, R), a view."""
        return self.sigma[None]


def read_adapter(source: Path | Files, manifest: Manifest, *, named: str = "") -> LoadedAdapter:
    """Read an adapter, a folder or the bytes of its two files, for a swappable bundle.

    Raises InputError, one line that begins with `named` (the folder, where it is ""): a file that is missing, too
    large or malformed; another base or basis; layers, labels or head that this bundle doesn't serve; values that are
    not finite.
    """
    swap = manifest.swap
    named = named or (f"adapter {source}" if isinstance(source, Path) else "adapter")
    if swap is None:
        raise InputError(f'{named}: this bundle is merged and takes no adapters; export with export.mode = "swappable"')
    document, data = read_files(source, swap, named) if isinstance(source, Path) else source
    where = f"{named}: {DOCUMENT}"
    card = _card(document, manifest, where)
    task, labels = _task(card, f"{where}.card")
    tensors = read_tensors(data, tensors_limit(swap, max(1, len(labels))), f"{named}: {TENSORS}")
    groups = _groups(tensors, swap, f"{named}: {TENSORS}")
    head = _head(groups["module"], swap, task, len(labels), card, f"{named}: {TENSORS}")
    sigma, dropped = _sigma(groups["delta"], swap)
    weights = {weight.name: _own(groups["module"][weight.name]) for weight in head.weights}
    return LoadedAdapter(
        task=task,
        labels=labels,
        sigma=sigma,
        head=head.name,
        weights=weights,
        texts=_count(card, "texts", 2, f"{where}.card") or manifest.input.text,
        max_length=_count(card, "max_length", sys.maxsize, f"{where}.card"),
        card=card,
        dropped=dropped,
        nbytes=_size(card) + sum(_size(value) for value in (sigma, *weights.values())),
    )


def read_files(folder: Path, swap: SwapSpec, named: str) -> Files:
    """Both files of an adapter's folder. Raises InputError for one that can't be read, or larger than any could be."""
    if not folder.is_dir():
        raise InputError(f"{named}: no such folder; an adapter is a folder with {DOCUMENT} and {TENSORS}")
    document = read_bounded(folder / DOCUMENT, MAX_DOCUMENT_BYTES, f"{named}: {DOCUMENT}")
    try:
        return document, read_bounded(folder / TENSORS, tensors_limit(swap), f"{named}: {TENSORS}")
    except InputError:
        _known(document, f"{named}: {DOCUMENT}")  # another core has more values, which says it better than their size
        raise


def tensors_limit(swap: SwapSpec, classes: int = MAX_LABELS) -> int:
    """The most bytes that adapter.safetensors can have for these layers, the largest head and `classes` logits."""
    heads = [
        sum(math.prod(classes if size == CLASSES else int(size) for size in weight.shape) for weight in head.weights)
        for head in swap.heads
    ]
    return MAX_HEADER_BYTES + 4 * (2 * sum(layer.rank for layer in swap.layers) + max(heads))


def _known(data: bytes, where: str) -> Record:
    """An adapter.json whose format, method and core are what swappable bundles take."""
    if len(data) > MAX_DOCUMENT_BYTES:
        raise InputError(f"{where}: larger than the {MAX_DOCUMENT_BYTES} bytes that it may have")
    try:
        document = json.loads(data.decode(), parse_constant=_refuse)
        json.dumps(
            document, ensure_ascii=False, allow_nan=False
        ).encode()  # no infinities, no halves of surrogate pairs
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise InputError(f"{where}: not valid JSON ({error})") from error
    record = Record(document, where)
    record.choice("format", (FORMAT,))
    version = record.count("format_version", 1)
    if version != FORMAT_VERSION:
        raise InputError(f"{where}: adapter format {version}, this svfit reads {FORMAT_VERSION}")
    record.choice("method", ("svfit",))
    if (core := record.choice("core", CORES)) != "diagonal":
        raise InputError(
            f"{where}.core: {core}; a swappable graph takes diagonal adapters only: give this one a bundle of its own"
            ' with export.mode = "merged", or train with adapter.core = "diagonal"'
        )
    return record


def _card(data: bytes, manifest: Manifest, where: str) -> dict[str, Any]:
    """The card of an adapter.json that this very bundle takes, basis and base included."""
    record = _known(data, where)
    basis = record.get("basis_id", str)
    if basis != manifest.basis_id:
        raise InputError(
            f"{where}: was trained on basis {basis[:80]}, this bundle's is {manifest.basis_id};"
            " values of one basis mean nothing on another"
        )
    card = record.get("card", dict)
    base = card.get("base")
    have = base.get("sha256") if isinstance(base, dict) else None
    if have not in (None, manifest.base.sha256):
        raise InputError(f"{where}: was trained on base {str(have)[:80]}, this bundle's is {manifest.base.sha256}")
    return card


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _task(card: dict[str, Any], where: str) -> tuple[TaskName, tuple[str, ...]]:
    record = Record(card, where)
    task = cast(TaskName, record.choice("task", TASKS))
    labels = record.strings("labels") if card.get("labels") else ()
    if problem := task_of(task).labels_problem(labels):
        raise InputError(f"{where}.labels: {problem}")
    if len(labels) > MAX_LABELS:
        raise InputError(f"{where}.labels: {len(labels)} labels; there may be {MAX_LABELS}")
    return task, labels


def _count(card: dict[str, Any], key: str, most: int, where: str) -> int | None:
    value = card.get(key)
    if value is not None and not (type(value) is int and 1 <= value <= most):
        raise InputError(f"{where}.{key}: must be a whole number from 1 to {most} (got {str(value)[:40]})")
    return value


def _groups(tensors: Tensors, swap: SwapSpec, where: str) -> dict[str, Tensors]:
    """Tensors by kind, the layers' held to the bundle's."""
    groups: dict[str, Tensors] = {"delta": {}, "sigma": {}, "module": {}}
    for key, value in tensors.items():
        kind, _, name = key.partition(".")
        if kind not in groups:
            raise InputError(f"{where}: unknown tensor {key[:80]!r}; known prefixes: {', '.join(groups)}")
        groups[kind][name] = value
    ranks = {layer.name: (layer.rank,) for layer in swap.layers}
    for kind in ("delta", "sigma"):
        problem = _misfit({name: value.shape for name, value in groups[kind].items()}, ranks)
        if problem:
            raise InputError(f"{where}: its {kind}s are not of this bundle's layers: {problem}")
    return groups


def _misfit(have: Mapping[str, tuple[int, ...]], want: Mapping[str, tuple[int, ...]]) -> str:
    """The first difference between names and shapes, or ""."""
    for name, shape in want.items():
        if name not in have:
            return f"{name} is missing"
        if have[name] != shape:
            return f"{name} has shape {have[name]}, not {shape}"
    for name in have:
        if name not in want:
            return f"{name[:80]!r} is not among them ({', '.join(list(want)[:4])}, ...)"
    return ""


def _head(modules: Tensors, swap: SwapSpec, task: TaskName, labels: int, card: dict[str, Any], where: str) -> HeadSpec:
    """The task's head that takes exactly these weights; where several do, the one that the card's `head` names."""
    heads = [head for head in swap.heads if head.kind == task_of(task).kind]
    if not heads:
        have = ", ".join(sorted({head.kind for head in swap.heads}))
        raise InputError(f"{where}: no head of this bundle answers {task} (its heads give one output a {have})")
    shapes = {name: value.shape for name, value in modules.items()}
    problems = {head.name: _misfit(shapes, _shapes(head, max(1, labels))) for head in heads}
    fitting = [head for head in heads if not problems[head.name]]
    if not fitting:
        told = "; ".join(f"head {name}: {problem}" for name, problem in problems.items())
        raise InputError(f"{where}: no head of this bundle takes its modules ({told})")
    pooling = card.get("pooling")
    if pooling is not None and all(head.pooling not in ("", pooling) for head in fitting):
        have = ", ".join(sorted({head.pooling for head in fitting}))
        raise InputError(f"{where}: was trained with pooling {str(pooling)[:40]!r}, this bundle's graph has {have!r}")
    fitting = [head for head in fitting if pooling is None or head.pooling in ("", pooling)]
    if len(fitting) == 1:
        return fitting[0]
    for head in fitting:
        if head.name == card.get("head"):
            return head
    names = ", ".join(head.name for head in fitting)
    raise InputError(f"{where}: several heads take its modules ({names}); its card must name one as head")


def _shapes(head: HeadSpec, classes: int) -> dict[str, tuple[int, ...]]:
    return {
        weight.name: tuple(classes if size == CLASSES else int(size) for size in weight.shape)
        for weight in head.weights
    }


def _sigma(deltas: Tensors, swap: SwapSpec) -> tuple[npt.NDArray[np.float32], float]:
    """The kept values of every layer in a row (R,), and the share that isn't kept."""
    kept = [deltas[layer.name][list(layer.kept)] for layer in swap.layers]
    shares = []
    for layer, values in zip(swap.layers, kept, strict=True):
        whole = float(np.square(deltas[layer.name], dtype=np.float64).sum())
        shares.append(max(0.0, 1 - float(np.square(values, dtype=np.float64).sum()) / whole) if whole else 0.0)
    return _own(np.concatenate(kept)), sum(shares) / len(shares)


def _own(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """A copy that nothing can write to, free of the file's bytes."""
    own = np.array(values, dtype=np.float32, order="C")
    own.setflags(write=False)
    return own


def _size(value: Any) -> int:
    """Bytes that a value takes in memory, with all it holds."""
    size, waiting = 0, [value]
    while waiting:
        item = waiting.pop()
        size += sys.getsizeof(item)
        if isinstance(item, dict):
            waiting += [*item.keys(), *item.values()]
        elif isinstance(item, list):
            waiting += item
    return size
