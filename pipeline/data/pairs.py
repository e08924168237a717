"""Texts that belong together, for embeddings: pairs with a score, positives, or triplets with a text that doesn't."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, TypeAlias

from pipeline.data.carve import carve, parted
from pipeline.data.dataset import Dataset, Split
from pipeline.data.labels import numbers
from pipeline.data.readers import first_source
from pipeline.data.sources import RowSource, open_file, open_split
from pipeline.data.table import Table
from pipeline.data.wording import did_you_mean, quoted
from serve.errors import InputError, UsageError

EMBEDDING = "text-embedding"
Kind: TypeAlias = Literal["scores", "positives", "triplets"]
"""What a row is: two texts and how alike they are; two that are alike; or those and a third that isn't."""
NO_SCORE = math.nan
"""The label of a row without a score."""
FIELDS: dict[str, int] = {"scores": 2, "positives": 2, "triplets": 3}
"""The texts of a row of each kind."""


def load_pairs(
    *,
    train: str | Path | None,
    validation: str | Path | None = None,
    test: str | Path | None = None,
    text: str | Sequence[str],
    label: str,
    pairs: str = "auto",
    validation_share: float = 0.1,
    seed: int = 0,
    format: str = "auto",  # noqa: A002  the configuration's own word
    dataset: str | None = None,
    dataset_config: str | None = None,
    metrics: Mapping[str, tuple[str, ...]] | None = None,
) -> Dataset:
    """Read the rows of an embedding's data; `metrics` are what those of each kind can be measured by.

    `text` names two columns, or three: a text, one like it, and one unlike it. `pairs` is a kind or `auto`: three
    columns are triplets; two are scores where the training rows have a column `label`, and positives where they
    haven't. A score is any finite number, larger for texts more alike; it is scaled to 0 for the least and 1 for the
    most of the training rows. Rows of the other kinds have `NO_SCORE`.
    The rest is as in `load.load_dataset`, but that rows of one first text stay together when a validation split is
    carved. Raises UsageError; InputError (with file and line) also for an empty text, for scores that are all the
    same, and for a triplet whose second and third text are one; MissingDependency.
    """
    columns = _columns(text)
    train = first_source(train, dataset, dataset_config)

    def opened(split: str | Path) -> RowSource:
        return open_file(Path(split), format) if dataset is None else open_split(dataset, dataset_config, str(split))

    first = opened(train)
    kind = _kind(pairs, columns, label, first)

    def read(name: str, source: RowSource) -> Split:
        table = source.table(columns, label if kind == "scores" else None)
        _check(table, kind)
        labels = numbers(table) if kind == "scores" else [NO_SCORE] * len(table.texts)
        return Split(name, table.texts, labels, table.source, table.sha256, table.numbers)

    whole = read("train", first)
    low, high = min(whole.labels), max(whole.labels)
    if low == high:
        raise InputError(f"{whole.source}: every pair has the same score {low:g}; nothing can be learned")

    def scaled(split: Split) -> Split:
        if kind != "scores":
            return split
        return replace(split, labels=[(label - low) / (high - low) for label in split.labels])

    if validation is not None:
        parts = scaled(whole), scaled(read("validation", opened(validation)))
    else:
        parts = _carved(scaled(whole), validation_share, seed)
    held_out = None if test is None else scaled(read("test", opened(test)))
    return Dataset(EMBEDDING, (), *parts, held_out, (metrics or {}).get(kind, ()))


def _columns(text: str | Sequence[str]) -> tuple[str, ...]:
    columns = (text,) if isinstance(text, str) else tuple(text)
    if len(columns) not in (2, 3):
        raise UsageError(
            "data.text: an embedding learns from two columns of texts that belong together, or three, the last of "
            f"texts that don't belong to them (got {len(columns)})"
        )
    for column in columns:
        if columns.count(column) > 1:
            raise UsageError(f"data.text: column {quoted(column)} is named twice")
    return columns


def _kind(pairs: str, columns: Sequence[str], label: str, train: RowSource) -> Kind:
    if pairs not in ("auto", *FIELDS):
        there = ", ".join(("auto", *FIELDS))
        raise UsageError(f"data.pairs: unknown kind {quoted(pairs)}; there is: {there}.{did_you_mean(pairs, FIELDS)}")
    if pairs != "auto" and FIELDS[pairs] != len(columns):
        raise UsageError(f"data.pairs: {pairs} takes {FIELDS[pairs]} columns of data.text (got {len(columns)})")
    if label in columns and pairs in ("auto", "scores"):
        raise UsageError(f"data.text, data.label: column {quoted(label)} is named twice")
    if pairs == "scores" or (pairs == "auto" and len(columns) == 2 and train.has(label)):
        return "scores"
    return "triplets" if len(columns) == 3 else "positives"


def _check(table: Table, kind: Kind) -> None:
    for row, texts in enumerate(table.texts):
        empty = [field for field, text in enumerate(texts, 1) if not text.strip()]
        if empty:
            raise InputError(f"{table.at(row)}: text {empty[0]} of {len(texts)} is empty; fill it in or remove the row")
        if kind == "triplets" and texts[1].strip() == texts[2].strip():
            raise InputError(
                f"{table.at(row)}: {quoted(texts[1], 40)} is both the text that belongs to the first and the one that "
                "doesn't; mend the row or remove it"
            )


def _carved(whole: Split, share: float, seed: int) -> tuple[Split, Split]:
    """Train and validation; rows of the same first text aren't parted."""
    values = [0.0 if math.isnan(label) else label for label in whole.labels]
    kept, taken = carve([texts[:1] for texts in whole.texts], values, share, seed, classes=False)
    return parted(whole, kept, taken, [[*whole.texts[row], repr(whole.labels[row])] for row in taken])
