"""Adapted layers as a report tells them, read with whatever they lack."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from pipeline.report.values import mappings, number, numbers, words

SAMPLES = 64
_BLOCK = re.compile(r"^(.*?\.\d+)\.(.+)$")


@dataclass(frozen=True)
class Layer:
    """One adapted weight, read from a report; `full` is how many singular values the weight has, `scattered` whether
    those that were trained are others than the first."""

    name: str
    block: str
    short: str
    size: str
    rank: int
    full: int
    scattered: bool
    energy: float | None
    effective: float | None
    spectrum: list[float]
    moved: list[float]
    index: list[float]
    rms: float | None
    most: float | None
    top: list[Mapping[str, Any]]


def read(raw: Mapping[str, Any]) -> Layer:
    """A layer of `adapter.layers`, whatever it lacks."""
    name = words(raw.get("name")) or "unnamed"
    found = _BLOCK.match(name)
    block, short = (found[1], found[2]) if found else (name.split(".")[0], name)
    shape_ = [int(n) for n in numbers(raw.get("shape"))]
    spectrum, moved = numbers(raw.get("spectrum"))[:SAMPLES], numbers(raw.get("moved"))[:SAMPLES]
    index = numbers(raw.get("index"))[: max(len(spectrum), len(moved))]
    if len(index) < max(len(spectrum), len(moved)):
        index = [float(i) for i in range(max(len(spectrum), len(moved)))]
    rank = int(number(raw.get("rank")) or 0)
    full = max(min(shape_, default=0), rank, int(max(index, default=0)) + 1)
    return Layer(
        name=name,
        block=block,
        short=short,
        size=" × ".join(str(n) for n in shape_),
        rank=rank,
        full=full,
        scattered=raw.get("scattered") is True,
        energy=number(raw.get("energy")),
        effective=number(raw.get("effective_rank")),
        spectrum=spectrum,
        moved=moved,
        index=index,
        rms=number(raw.get("delta_rms")),
        most=number(raw.get("delta_max")),
        top=mappings(raw.get("top")),
    )


def spans(layer: Layer) -> list[tuple[float, float, float]]:
    """Samples as (left, right, value) on [0, SAMPLES], equal neighbours in shade left to the caller; gaps halved."""
    where = layer.index[: len(layer.moved)]
    last = max(layer.rank, int(where[-1]) + 1)
    edges = [0.0, *((a + b + 1) / 2 for a, b in pairwise(where)), float(last)]
    factor = SAMPLES / last
    return [(a * factor, b * factor, v) for (a, b), v in zip(pairwise(edges), layer.moved, strict=False)]
