"""A file or a hub's split as rows of whatever columns are asked for, and whether it has a column."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from pipeline.data.hub import open_hub
from pipeline.data.readers import READERS, Reader, check_there, format_of
from pipeline.data.table import MissingColumn, Row, Table, build_table, pick_columns
from serve.errors import InputError
from serve.files import sha256_file, sha256_json


@dataclass(frozen=True)
class RowSource:
    """Where rows are read from. `by_line` says whether their numbers count lines; `sha256` is "" where there is no
    file of its own, whose hash is then that of the rows."""

    name: str
    by_line: bool
    rows: Callable[[Sequence[str]], Iterator[Row]]
    sha256: Callable[[], str]

    def has(self, column: str) -> bool:
        """Whether there is such a column. What else is wrong with the source shows when its rows are read."""
        try:
            next(self.rows((column,)), None)
        except MissingColumn:
            return False
        except InputError:
            return True
        return True

    def table(self, columns: Sequence[str], label: str | None) -> Table:
        """All rows of these texts; without a label's column every label is 0.

        Raises InputError as the readers and `build_table` do.
        """
        if label is None:
            rows: Iterator[Row] = ((number, (*values, 0)) for number, values in self.rows(columns))
        else:
            rows = self.rows((*columns, label))
        table = build_table(self.name, self.by_line, rows, (*columns, label or ""), self.sha256)
        if table.sha256:
            return table
        digest = sha256_json([[*texts, label] for texts, label in zip(table.texts, table.labels, strict=True)])
        return Table(table.source, table.by_line, table.texts, table.labels, table.numbers, digest)


def open_file(path: Path, file_format: str = "auto") -> RowSource:
    """A data file. Raises UsageError for an unknown format or ending, InputError for a file that isn't there."""
    check_there(path)
    chosen = format_of(path, file_format)
    module, _, name = READERS[chosen].partition(":")
    reader = cast(Reader, getattr(importlib.import_module(module), name))
    return RowSource(str(path), chosen != "parquet", lambda columns: reader(path, columns), lambda: sha256_file(path))


def open_split(name: str, config: str | None, split: str) -> RowSource:
    """A split of a Hugging Face dataset. Raises MissingDependency; InputError where it can't be had."""
    _, data, source = open_hub(name, config, split)

    def rows(columns: Sequence[str]) -> Iterator[Row]:
        pick_columns(source, list(data.column_names), columns)
        number = 0
        for batch in data.select_columns(list(columns)).iter(batch_size=1000):
            for values in zip(*(batch[column] for column in columns), strict=True):
                number += 1
                yield number, values

    return RowSource(source, False, rows, lambda: "")
