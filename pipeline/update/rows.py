"""The rows of an update: new ones to learn and to hold out, old ones to replay and to measure forgetting on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.data import Dataset, Split
from pipeline.data.carve import carve
from pipeline.data.dataset import CLASSIFICATION
from pipeline.data.labels import class_indices, class_names, numbers
from pipeline.data.readers import read_file
from pipeline.data.table import Table
from pipeline.data.wording import listed, quoted
from pipeline.update.parent import Parent
from pipeline.update.wish import Wish
from serve.errors import InputError, UsageError

HELD_OUT = 0.2
REPLAY = 1.0


@dataclass(frozen=True)
class UpdateRows:
    """Labels of every split index into `labels` (numbers for a regression)."""

    labels: tuple[str, ...]
    added: tuple[str, ...]
    """Labels that the adapter didn't know."""
    learned: Split
    held_out: Split
    replay: Split | None
    old: Split | None
    """What forgetting is measured on."""
    known_already: int
    """New rows left out because their texts are among the old validation or test rows."""
    dataset: Dataset | None
    """A run's own rows, in the new labels."""

    @property
    def train(self) -> Split:
        return self.learned if self.replay is None else joined("train", self.learned, self.replay)


def read_rows(parent: Parent, wish: Wish, seed: int) -> UpdateRows:
    """Read, check and divide. Raises `UsageError` and `InputError`, each naming the file and the row."""
    columns = _columns(parent, wish)
    table = read_file(wish.data, columns)
    dataset = _own_rows(parent)
    asked = None if wish.validation is None else read_file(wish.validation, columns)
    replayed = read_file(wish.replay, columns) if isinstance(wish.replay, Path) else None
    kept, known_already = _without_measured(table, dataset, asked)
    labels, added = _labels(parent, kept, wish)

    def split(name: str, rows: Table) -> Split:
        values = class_indices(rows, labels, str(parent.folder)) if labels else numbers(rows)
        return Split(name, rows.texts, values, rows.source, rows.sha256, rows.numbers)

    if dataset is not None:
        dataset = _relabelled(parent, dataset, labels)
    new = split("new", kept)
    learned, held_out = _divided(new, HELD_OUT, seed, classes=bool(labels), names=("learned", "held_out"))
    old = split("old", asked) if asked is not None else None if dataset is None else dataset.validation
    replay = split("replay", replayed) if replayed is not None else _drawn(wish, dataset, len(learned.labels), seed)
    found = UpdateRows(labels, added, learned, held_out, replay, old, known_already, dataset)
    _check_something_to_learn(parent, wish, found)
    return found


def joined(name: str, first: Split, second: Split) -> Split:
    """The rows of both, in order."""
    return Split(
        name,
        [*first.texts, *second.texts],
        [*first.labels, *second.labels],
        f"{first.source}, {second.source}",
        "",
        [],
    )


def _columns(parent: Parent, wish: Wish) -> tuple[str, ...]:
    data = parent.context.config.data
    own = (data.text,) if isinstance(data.text, str) else tuple(data.text)
    text, label = wish.text or own, wish.label or data.label
    wanted = int(parent.adapter.card.get("texts", len(own)))
    if len(text) != wanted:
        raise UsageError(
            f"{parent.folder} answers {'pairs of texts' if wanted == 2 else 'single texts'}; name "
            f"{'both columns: --text FIRST --text SECOND' if wanted == 2 else 'one column: --text COLUMN'}"
        )
    if len({*text, label}) <= len(text):
        raise UsageError(f"--text, --label: a column is named twice ({listed((*text, label))})")
    return (*text, label)


def _own_rows(parent: Parent) -> Dataset | None:
    if parent.run is None:
        return None
    try:
        return parent.context.dataset
    except InputError as error:
        raise InputError(
            f"{error}; {parent.run}/config.json names it. Update the adapter alone, {parent.folder}, "
            "with --validation OLD_ROWS and --replay OLD_ROWS"
        ) from None


def _without_measured(table: Table, dataset: Dataset | None, asked: Table | None) -> tuple[Table, int]:
    """What is asked for later must not be learned now."""
    own = [] if dataset is None else [split for split in (dataset.validation, dataset.test) if split is not None]
    measured = {_key(texts) for split in own for texts in split.texts} | {
        _key(texts) for texts in (asked.texts if asked is not None else ())
    }
    kept = [row for row, texts in enumerate(table.texts) if _key(texts) not in measured]
    if not kept:
        raise InputError(f"{table.source}: every row is among the old validation or test rows; there is nothing new")
    return (
        dataclasses.replace(
            table,
            texts=[table.texts[row] for row in kept],
            labels=[table.labels[row] for row in kept],
            numbers=[table.numbers[row] for row in kept],
        ),
        len(table.texts) - len(kept),
    )


def _labels(parent: Parent, table: Table, wish: Wish) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """All labels in their order, and those among them that are new.

    An adapter's own come first, as they were; a run's are in the order that its rows give them, as in every run.
    """
    if parent.task != CLASSIFICATION:
        return (), ()
    every = class_names(dataclasses.replace(table, labels=[*parent.labels, *table.labels]))
    added = tuple(label for label in every if label not in parent.labels)
    if added and not wish.new_labels:
        row = next(row for row, label in enumerate(table.labels) if label in added)
        raise InputError(
            f"{table.at(row)}: the label {quoted(table.labels[row])} is unknown to {parent.folder}, which has "
            f"{len(parent.labels)}: {listed(parent.labels)}; --no-new-labels refuses it"
        )
    return (every if parent.run is not None else (*parent.labels, *added)), added


def _relabelled(parent: Parent, dataset: Dataset, labels: Sequence[str]) -> Dataset:
    """The run's rows with indices into `labels`."""
    if dataset.task != parent.task or tuple(dataset.labels) != parent.labels:
        raise InputError(
            f"{dataset.train.source}: its labels are no longer those of {parent.folder}; run the task again"
        )
    if not labels:
        return dataset
    places = [labels.index(label) for label in dataset.labels]

    def moved(split: Split) -> Split:
        return dataclasses.replace(split, labels=[places[int(label)] for label in split.labels])

    return Dataset(
        dataset.task,
        tuple(labels),
        moved(dataset.train),
        moved(dataset.validation),
        None if dataset.test is None else moved(dataset.test),
    )


def _drawn(wish: Wish, dataset: Dataset | None, new: int, seed: int) -> Split | None:
    """Old training rows, as many for each new one as was asked for, spread over the classes as they are."""
    share = REPLAY if wish.replay is None else wish.replay
    if dataset is None:
        if wish.replay is not None and share != 0:
            raise UsageError("--replay SHARE draws from a run's rows; beside an adapter alone name a file of old rows")
        return None
    count = round(float(share) * new) if not isinstance(share, Path) else 0
    have = len(dataset.train.labels)
    if count == 0:
        return None
    if count >= have:
        return dataclasses.replace(dataset.train, name="replay")
    return _divided(dataset.train, count / have, seed, classes=bool(dataset.labels), names=("left", "replay"))[1]


def _divided(split: Split, share: float, seed: int, *, classes: bool, names: tuple[str, str]) -> tuple[Split, Split]:
    try:
        sides = carve(split.texts, split.labels, share, seed, classes=classes)
    except InputError:
        raise InputError(f"{split.source}: a single row that is new; at least 2, as one is held out") from None
    first, second = (
        dataclasses.replace(
            split,
            name=name,
            texts=[split.texts[row] for row in side],
            labels=[split.labels[row] for row in side],
            lines=[split.lines[row] for row in side] if split.lines else [],
        )
        for name, side in zip(names, sides, strict=True)
    )
    return first, second


def _check_something_to_learn(parent: Parent, wish: Wish, rows: UpdateRows) -> None:
    if not rows.labels:
        return
    seen = set(rows.train.labels)
    if len(seen) == 1:
        label = rows.labels[int(next(iter(seen)))]
        raise InputError(
            f"{wish.data}: every row to learn has the label {quoted(label)}"
            f"{', which is new' if label in rows.added else ''}; there is nothing to tell it from. "
            f"Add rows of other labels, or old ones: --replay {'1' if parent.run is not None else 'OLD_ROWS'}"
        )
    if rows.replay is None and not any(rows.labels[int(value)] in parent.labels for value in seen):
        raise InputError(
            f"{wish.data}: none of its labels ({listed(rows.added, 4)}) is known to {parent.folder} "
            f"({listed(parent.labels, 4)}); is it the right column? To learn new labels alone, add old rows: --replay"
        )


def _key(texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(text.strip() for text in texts)
