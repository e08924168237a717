"""Texts to look at a model with: built-in ones of many kinds, or a person's own."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from pipeline.data.lines import numbered_lines
from pipeline.data.readers import EXTENSIONS, READERS
from serve.errors import InputError

LIMIT = 64

SAMPLES = (
    "The pump on line three is leaking again.",
    "How do I reset my password?",
    "The committee approved the budget for next year.",
    "She planted tomatoes and basil behind the house.",
    "Interest rates rose for the third month in a row.",
    "My card was charged twice for the same order.",
    "The patient was given ten milligrams of morphine.",
    "def add(a, b): return a + b",
    "Where is the nearest train station?",
    "A black dog runs through the snow.",
    "The film is too long, but the acting is superb.",
    "Protein folding is governed by hydrophobic interactions.",
    "Please cancel my subscription at the end of the month.",
    "The treaty was signed in Vienna in 1815.",
    "It will rain in the afternoon, with gusts of wind.",
    "Two goals in the last minute decided the match.",
    "Preheat the oven and whisk the eggs with sugar.",
    "The tenant shall give notice in writing.",
    "Our flight to Lisbon was delayed by five hours.",
    "This charger stopped working after a week, I want my money back.",
    "Every prime greater than two is odd.",
    "He tuned the guitar and began to sing.",
    "The museum is closed on Mondays.",
    "Elect the candidate who promises lower taxes!",
)


def read_texts(path: Path, column: str = "text", limit: int = LIMIT) -> list[str]:
    """The first `limit` texts of a file that aren't empty: a column of CSV, TSV, JSONL or Parquet, or lines of text.

    Raises `InputError` for a file that isn't there, can't be read, lacks the column, or has fewer than two texts.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; --texts takes a table with a column of texts, or a text a line")
    found = list(islice((text for text in _all(path, column) if text), limit))
    if len(found) < 2:
        raise InputError(f"{path}: holds {len(found)} texts; to compare a model's outputs takes at least 2")
    return found


def _all(path: Path, column: str) -> Iterator[str]:
    bare = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    kind = EXTENSIONS.get(bare.suffix.lower())
    if kind is None:
        yield from (line.strip() for _, line in numbered_lines(path))
        return
    module, _, name = READERS[kind].partition(":")
    for _, values in getattr(importlib.import_module(module), name)(path, [column]):
        yield str(values[0] or "").strip()
