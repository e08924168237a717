"""Labelled rows in, a dataset out: read the splits, settle the task, carve a validation split if there is none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.data.carve import carve, parted
from pipeline.data.dataset import CLASSIFICATION, Dataset, Split
from pipeline.data.hub import read_hub
from pipeline.data.labels import class_indices, class_names, decide_task, numbers
from pipeline.data.readers import first_source, read_file
from pipeline.data.table import Table
from pipeline.data.wording import quoted
from serve.errors import UsageError


def load_dataset(
    *,
    train: str | Path | None,
    validation: str | Path | None = None,
    test: str | Path | None = None,
    text: str | Sequence[str],
    label: str,
    task: str = "auto",
    validation_share: float = 0.1,
    seed: int = 0,
    format: str = "auto",  # noqa: A002  the configuration's own word
    dataset: str | None = None,
    dataset_config: str | None = None,
) -> Dataset:
    """Read a task's data.

    `train`, `validation` and `test` are files; with `dataset` (a name on the Hugging Face hub or a local
    folder, `dataset_config` its configuration) they are the names of its splits, and `train` is `"train"`
    unless given. `text` names one column or two (a pair), `label` the label's. `task` is `auto`,
    `text-classification` or `text-regression`; see `labels.decide_task` for `auto`. Without `validation`,
    `validation_share` of the training rows becomes it; see `carve.carve`. `format` overrides the file
    extension for every file. Raises UsageError, InputError (with file and line) and MissingDependency.
    """
    columns = (*_text_columns(text, label), label)
    train = first_source(train, dataset, dataset_config)

    def read(split: str | Path) -> Table:
        if dataset is None:
            return read_file(Path(split), columns, format)
        return read_hub(dataset, dataset_config, str(split), columns)

    train_table = read(train)
    chosen = decide_task(train_table, task)
    names = class_names(train_table) if chosen == CLASSIFICATION else ()

    def split_of(name: str, table: Table) -> Split:
        values = class_indices(table, names, train_table.source) if names else numbers(table)
        return Split(name, table.texts, values, table.source, table.sha256, table.numbers)

    whole = split_of("train", train_table)
    if validation is not None:
        parts = whole, split_of("validation", read(validation))
    else:
        parts = _carved(whole, names, validation_share, seed)
    return Dataset(chosen, names, *parts, split_of("test", read(test)) if test is not None else None)


def _text_columns(text: str | Sequence[str], label: str) -> tuple[str, ...]:
    columns = (text,) if isinstance(text, str) else tuple(text)
    if len(columns) not in (1, 2):
        raise UsageError(f"data.text: one column or a pair of columns is needed (got {len(columns)})")
    for column in (*columns, label):
        if (*columns, label).count(column) > 1:
            raise UsageError(f"data.text, data.label: column {quoted(column)} is named twice")
    return columns


def _carved(whole: Split, names: Sequence[str], share: float, seed: int) -> tuple[Split, Split]:
    kept, taken = carve(whole.texts, whole.labels, share, seed, classes=bool(names))
    found = whole.at(taken)
    rows = [
        [*texts, names[int(value)] if names else value] for texts, value in zip(found.texts, found.labels, strict=True)
    ]
    return parted(whole, kept, taken, rows)
