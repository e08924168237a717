"""Parquet, through pyarrow, one batch of the named columns at a time."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.data.table import Row, pick_columns
from serve.errors import InputError, MissingDependency


def read_parquet(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Yield `(row number from 1, values of columns)`.

    Raises MissingDependency without pyarrow, InputError for a file that is no Parquet, lacks a column or
    holds no row.
    """
    number = 0
    with _opened(path) as file:
        pick_columns(str(path), list(file.schema_arrow.names), columns)
        for batch in file.iter_batches(batch_size=4096, columns=list(dict.fromkeys(columns))):
            values = [batch.column(name).to_pylist() for name in columns]
            for row in zip(*values, strict=True):
                number += 1
                yield number, row
    if not number:
        raise InputError(f"{path}: no rows; only the columns are there")


def parquet_columns(path: Path) -> list[str]:
    """The names of a file's columns. Raises as `read_parquet`."""
    with _opened(path) as file:
        return list(file.schema_arrow.names)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        arrow = importlib.import_module("pyarrow")
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise MissingDependency("pyarrow", "train", "Reading Parquet") from error
    try:
        with parquet.ParquetFile(path) as file:
            yield file
    except (arrow.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: can't be read as Parquet: {reason}") from error
