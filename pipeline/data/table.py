"""Raw rows of one source before labels get their meaning, with the place of each for messages."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from pipeline.data.wording import did_you_mean, listed, quoted
from serve.errors import InputError

Row = tuple[int, tuple[object, ...]]  # its number in the source, and the values of the wanted columns


class MissingColumn(InputError):  # noqa: N818  (a state of the source, not a fault)
    """A source lacks a column that was asked for."""


@dataclass(frozen=True)
class Table:
    """Texts, and labels as they are spelled; `numbers` count lines from 1, or rows (`by_line` false)."""

    source: str
    by_line: bool
    texts: list[tuple[str, ...]]
    labels: list[str]
    numbers: list[int]
    sha256: str

    def at(self, index: int) -> str:
        """Where a row stands, as `file:line` or `source, row n`."""
        return place(self.source, self.by_line, self.numbers[index])


def place(source: str, by_line: bool, number: int) -> str:
    """`file:line` or `source, row n`."""
    return f"{source}:{number}" if by_line else f"{source}, row {number}"


def build_table(
    source: str, by_line: bool, rows: Iterable[Row], columns: Sequence[str], sha256: Callable[[], str]
) -> Table:
    """Collect rows; the last column is the label, those before it are the texts.

    A null text becomes the empty text. A label is stripped of white space and kept as it is spelled: an
    integer as its digits, a whole float as an integer, a truth value as `true` or `false`. Raises InputError
    for a missing label, for a text or label of another type, for text that isn't Unicode, and for no rows.
    """
    texts: list[tuple[str, ...]] = []
    labels: list[str] = []
    numbers: list[int] = []
    known: dict[str, str] = {}  # one string object a label, however many rows have it
    for number, values in rows:
        label = _label(values[-1])
        if label is None or label == "":
            problem = (
                f"{quoted(columns[-1])} is no text or number but {type(values[-1]).__name__}"
                if label is None
                else f"no label (column {quoted(columns[-1])} is empty)"
            )
            raise InputError(f"{place(source, by_line, number)}: {problem}; fill it in or remove the row")
        row = []
        for column, value in zip(columns[:-1], values[:-1], strict=True):
            text = "" if value is None else value
            if not isinstance(text, str):
                raise InputError(
                    f"{place(source, by_line, number)}: {quoted(column)} is no text but {type(value).__name__} "
                    f"({quoted(value, 30)})"
                )
            row.append(text)
        if not all(map(_is_unicode, (*row, label))):
            raise InputError(f"{place(source, by_line, number)}: half of a surrogate pair, which is no Unicode text")
        texts.append(tuple(row))
        labels.append(known.setdefault(label, label))
        numbers.append(number)
    if not texts:
        raise InputError(f"{source}: a header and no rows")
    return Table(source, by_line, texts, labels, numbers, sha256())


def pick_columns(where: str, names: Sequence[str], wanted: Sequence[str], hint: str = "") -> list[int]:
    """Positions of the wanted columns; MissingColumn names what there is, InputError one that stands there twice."""
    for column in wanted:
        if column not in names:
            raise MissingColumn(
                f"{where}: no column {quoted(column)}; there is: {listed(names)}.{did_you_mean(column, names)}{hint}"
            )
        if names.count(column) > 1:
            raise InputError(f"{where}: column {quoted(column)} stands there {names.count(column)} times; rename one")
    return [names.index(column) for column in wanted]


def _label(value: object) -> str | None:
    """A label's spelling; empty if missing, None if it is of a type that can't be one."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(value)
    if isinstance(value, int):
        return repr(value) if abs(value) < 10**300 else None
    return value.strip() if isinstance(value, str) else None


def _is_unicode(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)
