"""Which reader reads a file: a table of formats, and the ways in which a path can be wrong."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Container, Iterator, Sequence
from pathlib import Path
from typing import Protocol, cast

from pipeline.data.table import Row, Table, build_table
from pipeline.data.wording import did_you_mean, listed, quoted
from serve.errors import InputError, UsageError
from serve.files import sha256_file


class Reader(Protocol):
    """Streams `(line or row number from 1, values of columns)` of a file."""

    def __call__(self, path: Path, columns: Sequence[str]) -> Iterator[Row]: ...


READERS = {
    "csv": "pipeline.data.delimited:read_csv",
    "tsv": "pipeline.data.delimited:read_tsv",
    "jsonl": "pipeline.data.jsonl:read_jsonl",
    "parquet": "pipeline.data.parquet:read_parquet",
}
EXTENSIONS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
}


def read_file(path: Path, columns: Sequence[str], file_format: str = "auto") -> Table:
    """Read a file's columns, the label last.

    Raises UsageError for an unknown format or extension, InputError for a file that isn't there or is broken.
    """
    check_there(path)
    chosen = format_of(path, file_format)
    module, _, name = READERS[chosen].partition(":")
    reader = cast(Reader, getattr(importlib.import_module(module), name))
    by_line = chosen != "parquet"
    return build_table(str(path), by_line, reader(path, columns), columns, lambda: sha256_file(path))


def format_of(path: Path, file_format: str) -> str:
    """The key of `READERS` for a file. Raises UsageError for an unknown format or extension."""
    packed = path.suffix.lower() == ".gz"
    extension = (path.with_suffix("") if packed else path).suffix.lower()
    chosen = EXTENSIONS.get(extension) if file_format == "auto" else file_format
    if chosen is None:
        shown = f"the extension {quoted(extension)}" if extension else "no extension"
        raise UsageError(
            f"{path}: {shown} says no format that svfit reads; known are {', '.join(EXTENSIONS)} "
            f"(text formats also with .gz), or set data.format to one of {', '.join(READERS)}"
        )
    if chosen not in READERS:
        raise UsageError(
            f"data.format: unknown format {quoted(chosen)}; there is: auto, {', '.join(READERS)}."
            f"{did_you_mean(chosen, READERS)}"
        )
    if packed and chosen == "parquet":
        raise UsageError(f"{path}: Parquet is compressed inside; unpack the .gz around it")
    return chosen


def check_there(path: Path, extensions: Container[str] = EXTENSIONS) -> None:
    """Raise InputError, which tells what files with such extensions there are, where this is none."""
    try:
        if path.is_file():
            return
        if path.is_dir():
            raise InputError(f"{path}: a folder, not a file; inside are: {listed(_data_files(path, extensions))}")
        if not path.parent.is_dir():
            raise InputError(f"{path}: no such file, and no folder {path.parent} either")
        names = _data_files(path.parent, extensions)
    except OSError as error:
        raise InputError(f"{path}: can't be read: {error.strerror or error}") from error
    similar = difflib.get_close_matches(path.name, names, n=3, cutoff=0.5) or names
    raise InputError(f"{path}: no such file; in {path.parent} there is: {listed(similar, 6)}")


def _data_files(folder: Path, extensions: Container[str]) -> list[str]:
    def is_data(name: str) -> bool:
        return Path(name.lower().removesuffix(".gz")).suffix in extensions

    return sorted(item.name for item in folder.iterdir() if is_data(item.name) and item.is_file())


def first_source(
    train: str | Path | None,
    dataset: str | None,
    dataset_config: str | None,
    what: str = "a file with the training rows",
) -> str | Path:
    """Where the training rows are: a file, or a dataset's split. Raises UsageError where neither is named."""
    if dataset is None and dataset_config is not None:
        raise UsageError(f"data.dataset_config: {quoted(dataset_config)} is given without data.dataset")
    if train is None and dataset is None:
        raise UsageError(f"data.train: {what} is needed, or data.dataset")
    return "train" if train is None else train
