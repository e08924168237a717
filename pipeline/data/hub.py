"""A Hugging Face dataset by name, or by a local folder, read by `datasets` itself."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

from pipeline.data.table import Row, Table, build_table, pick_columns
from pipeline.data.wording import quoted
from serve.errors import InputError, MissingDependency
from serve.files import sha256_json


def read_hub(name: str, config: str | None, split: str, columns: Sequence[str]) -> Table:
    """Read the columns, label last, of one split; `ClassLabel` numbers become their names.

    Raises as `open_hub`, and InputError for a missing column.
    """
    datasets, data, source = open_hub(name, config, split)
    pick_columns(source, list(data.column_names), columns)
    table = build_table(source, False, _rows(datasets, data, columns, source), columns, lambda: "")
    digest = sha256_json([[*texts, label] for texts, label in zip(table.texts, table.labels, strict=True)])
    return Table(source, False, table.texts, table.labels, table.numbers, digest)


def open_hub(name: str, config: str | None, split: str) -> tuple[ModuleType, Any, str]:
    """The `datasets` library, one split of a dataset, and how messages call it: `dataset#split`.

    Raises MissingDependency without `datasets`; InputError when the dataset, its configuration or its split can't be
    had.
    """
    try:
        datasets = importlib.import_module("datasets")
    except ImportError as error:
        raise MissingDependency("datasets", "train", "Reading a Hugging Face dataset") from error
    source = f"{name}/{config}#{split}" if config else f"{name}#{split}"
    with _quiet(datasets):
        try:
            data = datasets.load_dataset(name, config, split=split)
        except Exception as error:  # whatever the library, its readers or the network raise ends this stage
            raise InputError(f"{source}: {_reason(name, error)}") from error
    return datasets, data, source


def _rows(datasets: ModuleType, data: Any, columns: Sequence[str], source: str) -> Iterator[Row]:
    feature = data.features[columns[-1]]
    names: list[str] | None = list(feature.names) if isinstance(feature, datasets.ClassLabel) else None
    number = 0
    for batch in data.select_columns(list(columns)).iter(batch_size=1000):
        for values in zip(*(batch[column] for column in columns), strict=True):
            number += 1
            label = values[-1]
            if names is None or label is None:
                yield number, values
            elif label < 0:
                raise InputError(
                    f"{source}, row {number}: the label is {label}, which says that this split has none; "
                    "leave it out or choose another split"
                )
            else:
                yield number, (*values[:-1], names[label])


@contextlib.contextmanager
def _quiet(datasets: ModuleType) -> Iterator[None]:
    """Progress only where a person watches, and none of the hub's retry notes: the error says it once."""
    hub_logging = importlib.import_module("huggingface_hub.utils.logging")
    verbosity = hub_logging.get_verbosity()
    hide = not sys.stderr.isatty() and datasets.is_progress_bar_enabled()
    hub_logging.set_verbosity_error()
    if hide:
        datasets.disable_progress_bars()
    try:
        yield
    finally:
        hub_logging.set_verbosity(verbosity)
        if hide:
            datasets.enable_progress_bars()


def _reason(name: str, error: Exception) -> str:
    told = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if isinstance(error, ConnectionError | TimeoutError):
        return (
            f"can't reach the hub ({told}); check the network and the name {quoted(name)}, "
            "or point data.dataset to a local folder"
        )
    return f"can't be loaded: {told}"
