"""Where texts with spans come from: CoNLL-style files, JSON lines, Parquet, a Hugging Face dataset."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.data.bio import read_tags
from pipeline.data.conll import read_conll
from pipeline.data.hub import open_hub
from pipeline.data.jsonl import read_jsonl
from pipeline.data.lines import numbered_lines
from pipeline.data.parquet import parquet_columns, read_parquet
from pipeline.data.readers import check_there
from pipeline.data.spans import Span, checked_spans, parse_spans
from pipeline.data.table import Row, pick_columns, place
from pipeline.data.wording import did_you_mean, listed, quoted
from serve.entities import Run
from serve.errors import InputError, UsageError
from serve.files import sha256_file, sha256_json

EXTENSIONS = dict.fromkeys((".conll", ".bio", ".iob", ".iob2", ".bioes", ".tsv", ".txt"), "conll") | {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
}
FORMATS = ("conll", "jsonl", "parquet")
TEXT_COLUMNS = ("text", "tokens", "words", "sentence")
"""Where none is named, the first of these that is there: a text, or a list of words."""
SPAN_COLUMNS = ("spans", "entities", "ner_tags", "tags", "labels", "label")
"""Likewise: spans of a text, or a tag for each word."""


@dataclass(frozen=True)
class SpanTable:
    """Texts with their spans, in the order of their source; `numbers` count lines from 1, or rows (`by_line` false)."""

    source: str
    by_line: bool
    texts: list[str]
    spans: list[tuple[Span, ...]]
    numbers: list[int]
    sha256: str

    def at(self, index: int) -> str:
        """Where a row stands, as `file:line` or `source, row n`."""
        return place(self.source, self.by_line, self.numbers[index])


def read_tagged_file(
    path: Path, text: str | None = None, label: str | None = None, file_format: str = "auto"
) -> SpanTable:
    """Read a file; `text` and `label` name its columns, where it has names.

    Raises UsageError for an unknown format or extension; InputError for a file that isn't there or is broken, a tag
    that doesn't fit, a span that can't be.
    """
    check_there(path, EXTENSIONS)
    chosen = _format_of(path, file_format)
    digest = sha256_file(path)
    if chosen == "conll":
        sentences = read_conll(path)
        runs = read_tags(
            [one.tags for one in sentences], lambda sentence, word: f"{path}:{sentences[sentence].lines[word]}"
        )
        rows = [(one.lines[0], one.words, entities) for one, entities in zip(sentences, runs, strict=True)]
        return _joined(str(path), True, rows, digest)
    columns = _picked(str(path), _columns(path, chosen), text, label)
    read = read_jsonl(path, columns) if chosen == "jsonl" else read_parquet(path, columns)
    return _from_rows(str(path), chosen == "jsonl", read, columns, None, digest)


def read_tagged_hub(
    name: str, config: str | None, split: str, text: str | None = None, label: str | None = None
) -> SpanTable:
    """Read a split of a Hugging Face dataset; tags that are `ClassLabel` numbers become their names.

    Raises as `read_tagged_file` does, and MissingDependency without `datasets`.
    """
    datasets, data, source = open_hub(name, config, split)
    columns = _picked(source, list(data.column_names), text, label)
    feature = getattr(data.features[columns[1]], "feature", None)
    names = list(feature.names) if isinstance(feature, datasets.ClassLabel) else None

    def rows() -> Iterable[Row]:
        number = 0
        for batch in data.select_columns(list(columns)).iter(batch_size=1000):
            for values in zip(*(batch[column] for column in columns), strict=True):
                number += 1
                yield number, values

    return _from_rows(source, False, rows(), columns, names, "")


def _from_rows(
    source: str, by_line: bool, rows: Iterable[Row], columns: Sequence[str], names: Sequence[str] | None, digest: str
) -> SpanTable:
    """Rows of a text and its spans, or of words and their tags, whichever the first row has."""
    every = list(rows)
    if not every:
        raise InputError(f"{source}: no rows")

    def at(row: int) -> str:
        return place(source, by_line, every[row][0])

    if isinstance(every[0][1][0], str):
        texts = [_text(value, columns[0], at(row)) for row, (_, (value, _)) in enumerate(every)]
        spans = [
            checked_spans(parse_spans(value, at(row)), texts[row], at(row)) for row, (_, (_, value)) in enumerate(every)
        ]
        numbers = [number for number, _ in every]
        return SpanTable(source, by_line, texts, spans, numbers, digest or _digest(texts, spans))
    words = [_strings(value, columns[0], at(row)) for row, (_, (value, _)) in enumerate(every)]
    tags = [_tags(value, columns[1], names, at(row)) for row, (_, (_, value)) in enumerate(every)]
    for row, (mine, theirs) in enumerate(zip(words, tags, strict=True)):
        if len(mine) != len(theirs):
            raise InputError(f"{at(row)}: {len(mine)} words and {len(theirs)} tags")
    runs = read_tags(tags, lambda row, word: f"{at(row)}: word {word + 1} ({quoted(words[row][word], 30)})")
    tagged = [(number, one, run) for (number, _), one, run in zip(every, words, runs, strict=True)]
    return _joined(source, by_line, tagged, digest)


def _joined(source: str, by_line: bool, rows: Sequence[tuple[int, list[str], list[Run]]], digest: str) -> SpanTable:
    """Words become a text with a space between them, their entities its spans."""
    texts, spans = [], []
    for number, words, runs in rows:
        text, ends, reached = " ".join(words), [], -1
        for word in words:
            reached += 1 + len(word)
            ends.append(reached)
        found = [Span(ends[run.first] - len(words[run.first]), ends[run.after - 1], run.kind) for run in runs]
        texts.append(text)
        spans.append(checked_spans(found, text, place(source, by_line, number)))
    numbers = [number for number, _, _ in rows]
    return SpanTable(source, by_line, texts, spans, numbers, digest or _digest(texts, spans))


def _digest(texts: Sequence[str], spans: Sequence[tuple[Span, ...]]) -> str:
    return sha256_json([[text, [list(span) for span in mine]] for text, mine in zip(texts, spans, strict=True)])


def _text(value: object, column: str, where: str) -> str:
    if not isinstance(value, str):
        raise InputError(f"{where}: {quoted(column)} is no text but {type(value).__name__} ({quoted(value, 30)})")
    return _unicode(value, where)


def _strings(value: object, column: str, where: str) -> list[str]:
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise InputError(f"{where}: {quoted(column)} is no list of texts ({quoted(value, 30)})")
    for position, word in enumerate(value, start=1):
        if not word.strip():
            raise InputError(f"{where}: word {position} is empty")
    return [_unicode(word, where) for word in value]


def _tags(value: Any, column: str, names: Sequence[str] | None, where: str) -> list[str]:
    if names is None or not isinstance(value, list):
        if isinstance(value, list) and any(type(item) is int for item in value):
            raise InputError(
                f"{where}: {quoted(column)} holds numbers, whose tags nothing here names; write the tags out"
            )
        return _strings(value, column, where)
    for tag in value:
        if type(tag) is not int or not 0 <= tag < len(names):
            raise InputError(f"{where}: {quoted(tag, 30)} is none of the {len(names)} tags")
    return [names[tag] for tag in value]


def _unicode(text: str, where: str) -> str:
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise InputError(f"{where}: half of a surrogate pair, which is no Unicode text")
    return text


def _picked(source: str, there: Sequence[str], text: str | None, label: str | None) -> tuple[str, str]:
    def pick(named: str | None, known: Sequence[str], key: str) -> str:
        found = named or next((name for name in known if name in there), None)
        if found is None:
            raise InputError(f"{source}: none of the columns {listed(there)} is {listed(known)}; name it with {key}")
        pick_columns(source, there, [found])
        return found

    return pick(text, TEXT_COLUMNS, "data.text"), pick(label, SPAN_COLUMNS, "data.label")


def _columns(path: Path, chosen: str) -> list[str]:
    """The columns that a file has; of JSON lines, those of the first."""
    if chosen == "parquet":
        return parquet_columns(path)
    next(read_jsonl(path, ()))  # which tells what is wrong with it
    return list(json.loads(next(line for _, line in numbered_lines(path) if line.strip())))


def _format_of(path: Path, file_format: str) -> str:
    packed = path.suffix.lower() == ".gz"
    extension = (path.with_suffix("") if packed else path).suffix.lower()
    chosen = EXTENSIONS.get(extension) if file_format == "auto" else {"tsv": "conll"}.get(file_format, file_format)
    if chosen is None:
        shown = f"the extension {quoted(extension)}" if extension else "no extension"
        raise UsageError(
            f"{path}: {shown} says no format that entities are read from; known are {', '.join(EXTENSIONS)}, or set "
            f"data.format to one of {', '.join(FORMATS)}"
        )
    if chosen not in FORMATS:
        raise UsageError(
            f"data.format: {quoted(chosen)} holds no entities; there is: auto, {', '.join(FORMATS)}."
            f"{did_you_mean(chosen, FORMATS)}"
        )
    return chosen
