"""What the data looks like, and what about it should make a person pause."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from pipeline.data.dataset import Dataset, Split
from pipeline.data.warning_sentences import warnings_for

FEW_ROWS = 8  # a class with fewer training rows is hardly learned, and its validation rows say little
EXAMPLES = 5
BINS = 10

CountTokens = Callable[[list[tuple[str, ...]]], list[int]]


def profile(dataset: Dataset, count_tokens: CountTokens, max_length: int) -> dict[str, Any]:
    """Describe a dataset as JSON-able values.

    `count_tokens` gives the untruncated number of tokens of each row, special tokens included, for the rows
    of a split at a time. Texts are compared without the white space at their ends. Keys: `task`, `labels`,
    `max_length`; `splits` by name with `source`, `sha256`, `rows`, `tokens` (min, median, p95, max,
    truncated, truncated_share), `empty_texts` (count, first lines), and `classes` (rows by name) or
    `numbers` (min, mean, max, whole, histogram of 10 equal bins); `duplicates` in train (rows beyond the first of
    their text, texts, conflicting texts, examples of these); `overlap` (rows of validation and test whose
    text is in train); `few_rows` (below, classes); `missing` (classes without a row, by split);
    `warnings`, plain sentences.
    """
    names = dataset.labels
    found: dict[str, Any] = {
        "task": dataset.task,
        "labels": list(names),
        "max_length": max_length,
        "splits": {split.name: _split(split, names, count_tokens, max_length) for split in dataset.splits()},
        "duplicates": duplicates(dataset.train, lambda label: names[int(label)] if names else label),
        "overlap": overlap(dataset),
    }
    by_class = {name: found["splits"][name].get("classes", {}) for name in found["splits"]}
    few = {name: count for name, count in by_class["train"].items() if count < FEW_ROWS}
    found["few_rows"] = {"below": FEW_ROWS, "classes": few}
    found["missing"] = {
        split: [name for name, count in classes.items() if not count] for split, classes in by_class.items()
    }
    found["warnings"] = warnings_for(found)
    return found


def _key(texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(text.strip() for text in texts)


def _split(split: Split, names: Sequence[str], count_tokens: CountTokens, max_length: int) -> dict[str, Any]:
    own = {"classes": _classes(split, names)} if names else {"numbers": number_facts(split.labels)}
    return {**split_facts(split, count_tokens, max_length), **own}


def split_facts(split: Split, count_tokens: CountTokens, max_length: int) -> dict[str, Any]:
    """What is told of the texts of a split, whatever their labels are."""
    empty = [row for row, texts in enumerate(split.texts) if not all(_key(texts))]
    return {
        "source": split.source,
        "sha256": split.sha256,
        "rows": len(split.texts),
        "tokens": _lengths(count_tokens(split.texts), len(split.texts), max_length),
        "empty_texts": {"count": len(empty), "first": _lines(split, empty)},
    }


def _lines(split: Split, rows: Sequence[int]) -> list[int]:
    return [split.lines[row] for row in rows[:EXAMPLES]] if split.lines else []


def _lengths(counts: Sequence[int], rows: int, max_length: int) -> dict[str, Any]:
    if len(counts) != rows:
        raise ValueError(f"count_tokens gave {len(counts)} lengths for {rows} rows")
    ordered = sorted(counts)
    truncated = sum(count > max_length for count in ordered)
    return {
        "min": ordered[0],
        "median": _nearest_rank(ordered, 0.5),
        "p95": _nearest_rank(ordered, 0.95),
        "max": ordered[-1],
        "truncated": truncated,
        "truncated_share": truncated / rows,
    }


def _nearest_rank(ordered: Sequence[int], share: float) -> int:
    return ordered[math.ceil(share * len(ordered)) - 1]


def _classes(split: Split, names: Sequence[str]) -> dict[str, int]:
    counts = Counter(split.labels)
    return {name: counts[index] for index, name in enumerate(names)}


def number_facts(labels: Sequence[float]) -> dict[str, Any]:
    """The range of a split's numbers, and how they are spread."""
    low, high = min(labels), max(labels)
    width = high / BINS - low / BINS  # divided first: the difference of two finite numbers may not be finite
    edges = [low * (1 - k / BINS) + high * (k / BINS) for k in range(BINS + 1)]
    counts = [0] * BINS
    for value in labels:
        position = value / width - low / width if width else 0.0
        counts[min(BINS - 1, max(0, int(position)))] += 1
    mean = math.fsum(value / len(labels) for value in labels)
    whole = all(float(value).is_integer() for value in labels)
    return {"min": low, "mean": mean, "max": high, "whole": whole, "histogram": {"edges": edges, "counts": counts}}


def overlap(dataset: Dataset) -> dict[str, int]:
    """Rows of the other splits whose text is in train."""
    seen = {_key(texts) for texts in dataset.train.texts}
    return {f"train_{split.name}": sum(_key(texts) in seen for texts in split.texts) for split in dataset.splits()[1:]}


def duplicates(train: Split, told: Callable[[Any], Any]) -> dict[str, Any]:
    """Rows of one text, and whether their labels differ; `told` makes a label ready for JSON."""
    rows_of: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    for row, texts in enumerate(train.texts):
        rows_of[_key(texts)].append(row)
    repeated = {key: rows for key, rows in rows_of.items() if len(rows) > 1}
    conflicting = {key: rows for key, rows in repeated.items() if len({train.labels[row] for row in rows}) > 1}
    return {
        "rows": sum(len(rows) - 1 for rows in repeated.values()),
        "texts": len(repeated),
        "conflicting": len(conflicting),
        "examples": [
            {
                "text": list(key),
                "labels": [told(train.labels[row]) for row in rows[:EXAMPLES]],
                "lines": _lines(train, rows),
            }
            for key, rows in list(conflicting.items())[:EXAMPLES]
        ],
    }
