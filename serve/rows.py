"""Rows of text from CSV, TSV, JSON lines or plain lines, one at a time and in constant memory."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from serve.errors import InputError
from serve.predictor import MAX_TEXT
from serve.tokenize import TextRow

MAX_LINE_BYTES = 8 * MAX_TEXT  # room for a row of the longest text, escaped, beside other columns
SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".txt")


def read_file(path: Path, texts: int, columns: Sequence[str] = ()) -> Iterator[TextRow]:
    """Rows of a file by its ending: .csv, .tsv with a header, .jsonl, .ndjson of objects, .txt of lines.

    `texts` is 1 (strings come out) or 2 (pairs). `columns` names that many columns; without them a column
    called `text` is taken, or all columns where there are just that many.
    Raises InputError that names file and line.
    """
    kind = path.suffix.lower()
    if kind not in SUFFIXES:
        raise InputError(f"{path}: can't tell its format; known endings: {', '.join(SUFFIXES)}")
    try:
        handle = path.open("rb")
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror or error})") from error
    with handle:
        lines = _Lines(handle, str(path))
        if kind in (".csv", ".tsv"):
            yield from _table(lines, texts, columns, "excel-tab" if kind == ".tsv" else "excel")
        elif kind == ".txt":
            _no_columns(lines.name, columns)
            yield from _plain(lines, texts)
        else:
            yield from _json_lines(lines, texts, columns)


def read_lines(handle: BinaryIO, texts: int, name: str = "standard input") -> Iterator[TextRow]:
    """One row a line (UTF-8), an empty line being an empty text; a pair is two texts with a tab between."""
    yield from _plain(_Lines(handle, name), texts)


class _Lines:
    """Decoded lines with their ends, each bounded; `number` is that of the latest."""

    def __init__(self, handle: BinaryIO, name: str) -> None:
        self.name = name
        self.number = 0
        self.pending = 0  # bytes handed out since the reader last finished a row
        self._handle = handle

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        data = self._handle.readline(MAX_LINE_BYTES + 1)
        if not data:
            raise StopIteration
        self.number += 1
        self.pending += len(data)
        if self.pending > MAX_LINE_BYTES:
            raise self.error(f"a row of more than {MAX_LINE_BYTES} bytes; is a quote left open?")
        try:
            return data.decode("utf-8-sig" if self.number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise self.error(f"not UTF-8 ({error.reason} at byte {error.start + 1})") from error

    def row(self, values: Sequence[str]) -> TextRow:
        """A finished row, of a bounded size and of real Unicode."""
        size = sum(map(len, values))
        if size > MAX_TEXT:
            raise self.error(f"{size} characters; a row may have {MAX_TEXT}")
        if any("\ud800" <= letter <= "\udfff" for value in values for letter in value):
            raise self.error("holds half a surrogate pair, which is no Unicode")
        return values[0] if len(values) == 1 else (values[0], values[1])

    def error(self, what: str) -> InputError:
        return InputError(f"{self.name}, line {self.number}: {what}")


def _no_columns(name: str, columns: Sequence[str]) -> None:
    if columns:
        raise InputError(f"{name}: plain lines have no columns to name; leave out {', '.join(columns)}")


def _chosen(lines: _Lines, header: Sequence[str], texts: int, columns: Sequence[str]) -> list[str]:
    have = ", ".join(header)
    if columns:
        if len(columns) != texts:
            raise InputError(f"{lines.name}: this bundle takes {texts} text column(s), {len(columns)} named")
        wanted = list(columns)
    elif texts == 1 and "text" in header:
        wanted = ["text"]
    elif texts == len(header) == 1 and (mark := next((mark for mark in ";\t|" if mark in header[0]), "")):
        raise InputError(f"{lines.name}: one column, {have!r}; are its columns separated by {mark!r}?")
    elif len(header) == texts:
        wanted = list(header)
    else:
        flags = " ".join(["--text COLUMN"] * texts)
        raise InputError(f"{lines.name}: which {texts} column(s) hold the text? name them ({flags}); there are: {have}")
    for column in wanted:
        if header.count(column) != 1:
            what = "no column" if column not in header else "more than one column"
            raise InputError(f"{lines.name}: {what} {column!r}; there are: {have}")
    return wanted


def _table(lines: _Lines, texts: int, columns: Sequence[str], dialect: str) -> Iterator[TextRow]:
    csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE_BYTES))
    reader = csv.reader(lines, dialect=dialect, strict=True)
    try:
        header = next(reader, None)
        if header is None:
            raise InputError(f"{lines.name}: empty; the first line must name the columns")
        places = [header.index(column) for column in _chosen(lines, header, texts, columns)]
        lines.pending = 0
        for fields in reader:
            lines.pending = 0
            if not fields:
                continue  # a line with nothing on it
            if len(fields) != len(header):
                raise lines.error(f"{len(fields)} fields; the header names {len(header)}")
            yield lines.row([fields[place] for place in places])
    except csv.Error as error:
        raise lines.error(f"malformed ({error})") from error


def _json_lines(lines: _Lines, texts: int, columns: Sequence[str]) -> Iterator[TextRow]:
    wanted: list[str] = []
    for line in lines:
        lines.pending = 0
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise lines.error(f"not valid JSON ({error})") from error
        if not isinstance(value, dict):
            raise lines.error(f"must be an object with a key for each column (got {type(value).__name__})")
        if not wanted:
            wanted = _chosen(lines, list(value), texts, columns)
        found = [value.get(column) for column in wanted]
        for column, text in zip(wanted, found, strict=True):
            if not isinstance(text, str):
                what = f"must be text (got {text!r:.40})" if column in value else "is missing"
                raise lines.error(f"{column!r} {what}")
        yield lines.row([str(text) for text in found])


def _plain(lines: _Lines, texts: int) -> Iterator[TextRow]:
    for line in lines:
        lines.pending = 0
        text = line.removesuffix("\n").removesuffix("\r")
        values = [text] if texts == 1 else text.split("\t")
        if len(values) != texts:
            raise lines.error(f"a pair is two texts with one tab between ({len(values) - 1} tabs found)")
        yield lines.row(values)
