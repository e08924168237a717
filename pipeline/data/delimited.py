"""CSV and TSV through the standard library's reader, strict: a row is read as it was written or refused."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.data.lines import numbered_lines
from pipeline.data.table import Row, pick_columns
from pipeline.data.wording import listed
from serve.errors import InputError

MAX_FIELD = 16 << 20  # characters; the standard library's own default, 128 Ki, cuts off long documents


def read_csv(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Rows of a comma-separated file with a header; see `_read`."""
    return _read(path, columns, ",")


def read_tsv(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Rows of a tab-separated file with a header, quoted like CSV; see `_read`."""
    return _read(path, columns, "\t")


def _read(path: Path, columns: Sequence[str], delimiter: str) -> Iterator[Row]:
    """Yield `(first line of the row, values of columns)`; blank lines are skipped.

    Raises InputError for an empty file, a missing or ambiguous column, a wrong number of fields, a quote
    that never closes or closes in the middle of a field, and a NUL character.
    """
    records = _records(path, delimiter)
    header_line, header = next(records, (1, []))
    if not header:
        raise InputError(f"{path}: the file is empty; a header and rows were expected")
    header = [name.strip() for name in header]
    positions = pick_columns(f"{path}:{header_line}", header, columns, _hint(header, delimiter))
    for line, fields in records:
        if len(fields) != len(header):
            raise InputError(
                f"{path}:{line}: {len(fields)} field{'s' * (len(fields) != 1)} where the header has "
                f"{len(header)} ({listed(header)}); a text that holds a {_NAMES[delimiter]}, a quote or a line "
                "break needs double quotes around it"
            )
        yield line, tuple(fields[position] for position in positions)


def _records(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(_without_nul(path), delimiter=delimiter, strict=True)
    while True:
        start = reader.line_num + 1
        limit = csv.field_size_limit(MAX_FIELD)
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise InputError(_complaint(path, start, reader.line_num, str(error))) from error
        finally:
            csv.field_size_limit(limit)
        if fields:
            yield start, fields


def _without_nul(path: Path) -> Iterator[str]:
    for number, line in numbered_lines(path):
        if "\0" in line:
            raise InputError(
                f"{path}:{number}: a NUL character at column {line.index(chr(0)) + 1}; is this a text file in UTF-8?"
            )
        yield line


def _complaint(path: Path, start: int, line: int, message: str) -> str:
    if "end of data" in message:
        return f"{path}:{start}: a quoted field opens in this row and never closes"
    if "field limit" in message:
        return f"{path}:{start}: a field of more than {MAX_FIELD:,} characters; is a quote never closed?"
    since = f" (the row starts in line {start})" if start != line else ""
    return f"{path}:{line}: malformed row{since}: {message}; a quote inside a quoted field is written twice"


def _hint(header: Sequence[str], delimiter: str) -> str:
    """Another separator, when the whole header looks like one column that holds it."""
    if len(header) == 1:
        for other, name in _NAMES.items():
            if other != delimiter and other in header[0]:
                return f" The header seems to be separated by a {name}."
    return ""


_NAMES = {",": "comma", "\t": "tab", ";": "semicolon"}
