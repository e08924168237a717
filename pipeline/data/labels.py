"""From labels as they are spelled to a task, class indices or numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from pipeline.data.dataset import CLASSIFICATION, REGRESSION
from pipeline.data.table import Table
from pipeline.data.wording import did_you_mean, listed, quoted
from serve.errors import InputError, UsageError

TASKS = (CLASSIFICATION, REGRESSION)
MAX_INTEGER_CLASSES = 20  # more different whole numbers than this are an amount, unless they are 0, 1, … K-1
MOSTLY = 0.9  # with this share of numbers among the labels, the rest is taken for a mistake
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def parse_number(label: str) -> float | None:
    """The finite number that a label spells with a decimal point; None when it spells none."""
    if not _NUMBER.fullmatch(label):
        return None
    value = float(label)
    return value if math.isfinite(value) else None


def decide_task(train: Table, task: str) -> str:
    """The task asked for, or for `auto` the one that the training labels speak for.

    Regression if every label is a number and either some aren't whole or there are more than
    `MAX_INTEGER_CLASSES` different ones that aren't exactly 0, 1, … K-1 (class numbers); classification
    otherwise. Raises UsageError for an unknown task; InputError when nearly all labels are such amounts and
    a few aren't numbers.
    """
    if task in TASKS:
        return task
    if task != "auto":
        raise UsageError(
            f"data.task: unknown task {quoted(task)}; there is: auto, {', '.join(TASKS)}.{did_you_mean(task, TASKS)}"
        )
    spelled = set(train.labels)
    numbers = {label: number for label in spelled if (number := parse_number(label)) is not None}
    if not _are_amounts(set(numbers.values())):
        return CLASSIFICATION
    if len(numbers) == len(spelled):
        return REGRESSION
    odd = [index for index, label in enumerate(train.labels) if label not in numbers]
    if len(odd) <= (1 - MOSTLY) * len(train.labels):
        raise InputError(
            f"{train.at(odd[0])}: the label {quoted(train.labels[odd[0]])} is no number, while "
            f"{len(train.labels) - len(odd):,} of {len(train.labels):,} labels are; mend it, or say "
            'data.task = "classification"'
        )
    return CLASSIFICATION


def _are_amounts(values: set[float]) -> bool:
    if not all(value.is_integer() for value in values):
        return True
    return len(values) > MAX_INTEGER_CLASSES and values != set(map(float, range(len(values))))


def class_names(train: Table) -> tuple[str, ...]:
    """The classes of the training rows in order: numbers by value and first, then text by code point.

    Raises InputError if there is only one, as nothing could be learned.
    """
    names = sorted(set(train.labels), key=_order)
    if len(names) < 2:
        raise InputError(
            f"{train.source}: every row has the same label {quoted(names[0])}; there is nothing to tell apart"
        )
    return tuple(names)


def _order(label: str) -> tuple[bool, float, str]:
    number = parse_number(label)
    return number is None, number or 0.0, label


def class_indices(table: Table, names: Sequence[str], train_source: str) -> list[int]:
    """Each label's index in `names`; InputError names the first row whose label isn't among them."""
    index = {name: position for position, name in enumerate(names)}
    result = []
    for row, label in enumerate(table.labels):
        if label not in index:
            raise InputError(
                f"{table.at(row)}: the label {quoted(label)} doesn't occur in {train_source}, which has "
                f"{len(names)}: {listed(names)}.{did_you_mean(label, names)}"
            )
        result.append(index[label])
    return result


def numbers(table: Table) -> list[float]:
    """Each label as a float; InputError names the first row whose label is no finite number."""
    result = []
    for row, label in enumerate(table.labels):
        number = parse_number(label)
        if number is None:
            raise InputError(
                f"{table.at(row)}: the label {quoted(label)} is no finite number, as a regression needs "
                '(written like 3 or 0.25); mend it, or say data.task = "classification"'
            )
        result.append(number)
    return result
