"""JSON lines: one object a line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.data.lines import numbered_lines
from pipeline.data.table import Row, pick_columns
from pipeline.data.wording import quoted
from serve.errors import InputError


def read_jsonl(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Yield `(line, values of columns)`; blank lines are skipped.

    Raises InputError for a line that isn't a JSON object, for an object that lacks a column and for a file
    without any row.
    """
    rows = 0
    for number, line in numbered_lines(path):
        if not line.strip():
            continue
        rows += 1
        where = f"{path}:{number}"
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(
                f"{where}: malformed JSON at column {error.colno}: {error.msg}; JSON lines hold one object a line"
            ) from error
        except (ValueError, RecursionError) as error:  # an integer of thousands of digits, endless nesting
            raise InputError(f"{where}: malformed JSON: {error}") from error
        if not isinstance(value, dict):
            raise InputError(f"{where}: {quoted(line.strip(), 30)} is no object; JSON lines hold one object a line")
        pick_columns(where, list(value), columns)
        yield number, tuple(value[column] for column in columns)
    if not rows:
        raise InputError(f"{path}: the file is empty; one JSON object a line was expected")
