"""Look at a table of rows and guess which columns are text and label. Standard library only, except for Parquet."""

from __future__ import annotations

import csv
import importlib
import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serve.errors import InputError, MissingDependency

from .problems import closest

ROWS = 200
ENTITIES = "token-classification"
CONLL = (".conll", ".bio", ".iob", ".iob2", ".bioes")
PAIRS = (
    ("sentence1", "sentence2"),
    ("question1", "question2"),
    ("premise", "hypothesis"),
    ("question", "sentence"),
    ("text1", "text2"),
    ("text_a", "text_b"),
)
TEXTS = (
    "text",
    "tokens",
    "sentence",
    "content",
    "message",
    "body",
    "description",
    "query",
    "question",
    "title",
    "review",
)
LABELS = (
    "spans",
    "entities",
    "ner_tags",
    "label",
    "labels",
    "target",
    "class",
    "category",
    "intent",
    "score",
    "rating",
    "y",
)
SEPARATORS = {";": "semicolon", "\t": "tab", "|": "bar"}
SIBLINGS = {"validation": ("validation", "valid", "val", "dev"), "test": ("test",)}


@dataclass(frozen=True)
class Guess:
    """Columns, and files beside the training file that look like its other splits."""

    text: str | list[str]
    label: str
    validation: Path | None
    test: Path | None
    task: str = "auto"


def guess(path: Path) -> Guess:
    """Look at the first 200 rows of `path`. Raises InputError where no text and label can be told apart."""
    if not path.is_file():
        beside = [found.name for found in path.parent.iterdir()] if path.parent.is_dir() else []
        raise InputError(f"{path}: no such file{closest(path.name, beside)}")
    validation, test = (_sibling(path, SIBLINGS[split]) for split in ("validation", "test"))
    if path.suffix.lower() in CONLL:
        return Guess("text", "label", validation, test, task=ENTITIES)
    rows = _rows(path)
    columns = list(rows[0]) if rows else []
    if len(columns) < 2:
        found = ", ".join(columns) or "none"
        other = next((name for mark, name in SEPARATORS.items() if mark in found), None)
        hint = f"; the columns seem to be separated by a {other}, not by a comma" if other and rows else ""
        raise InputError(f"{path}: needs a header and at least two columns, text and label (found: {found}){hint}")
    names = {column.lower(): column for column in reversed(columns)}
    pair = next(([names[a], names[b]] for a, b in PAIRS if a in names and b in names), None)
    text: str | list[str] | None = pair or next((names[name] for name in TEXTS if name in names), None)
    taken = [text] if isinstance(text, str) else (text or [])
    named = [names[name] for name in LABELS if name in names]
    label = next((column for column in named if column not in taken), None)
    if text is None:
        rest = [column for column in columns if column != label]
        text = max(rest, key=lambda column: sum(len(str(row.get(column, ""))) for row in rows))
        taken = [text]
    if label is None:
        free = [column for column in columns if column not in taken]
        if not free:
            raise InputError(f"{path}: has no column for the label beside {' and '.join(taken)}")
        label = min(free, key=lambda column: len({str(row.get(column)) for row in rows}))
    listed = any(isinstance(row.get(label), list) for row in rows)
    return Guess(text, label, validation, test, task=ENTITIES if listed else "auto")


def _sibling(path: Path, names: tuple[str, ...]) -> Path | None:
    candidates = (path.with_name(path.name.replace("train", name)) for name in names)
    return next((found for found in candidates if found != path and found.is_file()), None)


def _rows(path: Path) -> list[dict[str, Any]]:
    ending = path.suffix.lower()
    try:
        if ending == ".parquet":
            return _parquet(path)
        with path.open(encoding="utf-8-sig", newline="") as stream:
            if ending in (".jsonl", ".ndjson", ".json"):
                lines = [json.loads(line) for line in itertools.islice(stream, ROWS) if line.strip()]
                return [line for line in lines if isinstance(line, dict)]
            delimiter = "\t" if ending in (".tsv", ".tab") else ","
            return list(itertools.islice(csv.DictReader(stream, delimiter=delimiter, restkey=""), ROWS))
    except (UnicodeDecodeError, csv.Error, json.JSONDecodeError) as error:
        raise InputError(f"{path}: can't be read as a table: {error}") from None


def _parquet(path: Path) -> list[dict[str, Any]]:
    try:
        pyarrow, parquet = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ModuleNotFoundError:
        raise MissingDependency("pyarrow", "train", "reading Parquet") from None
    try:
        with parquet.ParquetFile(path) as file:
            batch = next(file.iter_batches(batch_size=ROWS), None)
        return [] if batch is None else list(batch.to_pylist())
    except pyarrow.ArrowInvalid as error:
        raise InputError(f"{path}: not a Parquet file: {error}") from None
