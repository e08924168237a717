"""A validation split taken from the training rows: stratified, seeded, the same on every machine."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pipeline.data.dataset import Split
from serve.errors import InputError, UsageError
from serve.files import sha256_json

STRATA = 10  # equally large strata by value, for numbers


def carve(
    texts: Sequence[tuple[str, ...]], labels: Sequence[int] | Sequence[float], share: float, seed: int, *, classes: bool
) -> tuple[list[int], list[int]]:
    """Indices that stay in train and those that go to validation, both ascending.

    `round(share × rows)` rows are aimed at, spread over the classes (or the strata of the numbers) in
    proportion. Rows with the same text and class stay together, so that none is learned and asked for. A
    class of two rows or more keeps one in train, and a class of one row stays there; only when that leaves
    validation empty are rows taken from anywhere. Neither side is ever empty. The choice hangs on SHA-256
    of seed and row, not on a library's random numbers.

    Raises UsageError for a share outside (0, 1), InputError for fewer than two rows.
    """
    if not 0 < share < 1:
        raise UsageError(f"data.validation_share: must lie between 0 and 1, both excluded (got {share})")
    if len(labels) < 2:
        raise InputError("a single row can't give a validation split; add rows, or name data.validation")
    wanted = min(max(1, round(share * len(labels))), len(labels) - 1)
    chosen: set[int] = set()
    strata = _by_class(labels) if classes else _by_value(labels)
    for rows, quota in zip(strata, _quotas([len(rows) for rows in strata], wanted, seed), strict=True):
        chosen.update(_take(rows, texts, quota, seed))
    if not chosen:  # each class has one row or one text: any text will do
        chosen.update(_take(range(len(labels)), texts, wanted, seed))
    if not chosen:  # all rows are one text
        chosen.add(min(range(len(labels)), key=lambda row: _draw(seed, "row", row)))
    return [row for row in range(len(labels)) if row not in chosen], sorted(chosen)


def _by_class(labels: Sequence[float]) -> list[list[int]]:
    groups: defaultdict[float, list[int]] = defaultdict(list)
    for row, label in enumerate(labels):
        groups[label].append(row)
    return [groups[label] for label in sorted(groups)]


def _by_value(labels: Sequence[float]) -> list[list[int]]:
    order = sorted(range(len(labels)), key=lambda row: (labels[row], row))
    count = min(STRATA, len(labels) // 2)
    return [order[len(order) * k // count : len(order) * (k + 1) // count] for k in range(count)]


def _quotas(sizes: Sequence[int], wanted: int, seed: int) -> list[int]:
    """Rows to take from each stratum: proportional, largest remainder first, never all of one."""
    shares = [size * wanted / sum(sizes) for size in sizes]
    quotas = [min(math.floor(share), size - 1) for share, size in zip(shares, sizes, strict=True)]
    by_remainder = sorted(range(len(sizes)), key=lambda k: (round(quotas[k] - shares[k], 9), _draw(seed, "stratum", k)))
    missing = wanted - sum(quotas)
    for k in by_remainder:
        if missing > 0 and quotas[k] < sizes[k] - 1:
            quotas[k] += 1
            missing -= 1
    return quotas


def _take(rows: Sequence[int], texts: Sequence[tuple[str, ...]], quota: int, seed: int) -> list[int]:
    """Up to `quota` rows in drawn order, same texts together, at least one text left behind."""
    same: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    for row in rows:
        same[tuple(text.strip() for text in texts[row])].append(row)
    groups = sorted(same.values(), key=lambda group: _draw(seed, "row", group[0]))
    taken: list[int] = []
    for group in groups[:-1]:
        if len(taken) + len(group) <= quota:
            taken += group
    return taken


def _draw(seed: int, kind: str, index: int) -> bytes:
    return hashlib.sha256(f"{seed}:{kind}:{index}".encode()).digest()


def parted(whole: Split, kept: Sequence[int], taken: Sequence[int], told: Sequence[Any]) -> tuple[Split, Split]:
    """Train and validation as `carve` chose their rows; `told` are the rows taken, ready for the hash of JSON."""
    source, sha256 = f"{whole.source} (from train)", sha256_json(told)
    return whole.at(kept), replace(whole.at(taken), name="validation", source=source, sha256=sha256)
