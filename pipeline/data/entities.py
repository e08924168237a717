"""Texts with entities in, a dataset out: kinds settled, a validation split carved if there is none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.data.carve import carve, parted
from pipeline.data.dataset import Dataset, Split
from pipeline.data.readers import first_source
from pipeline.data.spans import Span
from pipeline.data.tagged import SpanTable, read_tagged_file, read_tagged_hub
from pipeline.data.wording import did_you_mean, listed, quoted
from serve.entities import tags_of
from serve.errors import InputError

ENTITIES = "token-classification"


def load_entities(
    *,
    train: str | Path | None,
    validation: str | Path | None = None,
    test: str | Path | None = None,
    text: str | None = None,
    label: str | None = None,
    validation_share: float = 0.1,
    seed: int = 0,
    format: str = "auto",  # noqa: A002  the configuration's own word
    dataset: str | None = None,
    dataset_config: str | None = None,
) -> Dataset:
    """Read a tagger's data.

    `train`, `validation`, `test`, `dataset`, `dataset_config` and `validation_share` are as in `load.load_dataset`;
    `text` and `label` name the columns of files that have some, and of a dataset (None: see `tagged.TEXT_COLUMNS`).
    A split's `labels[i]` is a tuple of `Span`; the dataset's labels are the tags of the kinds that train has, by code
    point. A carved split has its share of each row's rarest kind. Raises UsageError, InputError (with file and line)
    and MissingDependency.
    """
    train = first_source(train, dataset, dataset_config)

    def read(split: str | Path) -> SpanTable:
        if dataset is None:
            return read_tagged_file(Path(split), text, label, format)
        return read_tagged_hub(dataset, dataset_config, str(split), text, label)

    table = read(train)
    counts = Counter(span.label for spans in table.spans for span in spans)
    if not counts:
        raise InputError(f"{table.source}: no entity in any row; there is nothing to learn")
    kinds = sorted(counts)
    if validation is None:
        learned, chosen = _carved(table, counts, validation_share, seed)
    else:
        learned, chosen = _split("train", table), _known("validation", read(validation), kinds, table.source)
    tested = _known("test", read(test), kinds, table.source) if test is not None else None
    return Dataset(ENTITIES, tags_of(kinds), learned, chosen, tested)


def _split(name: str, table: SpanTable) -> Split:
    texts: list[tuple[str, ...]] = [(text,) for text in table.texts]
    return Split(name, texts, list(table.spans), table.source, table.sha256, list(table.numbers))


def _known(name: str, table: SpanTable, kinds: Sequence[str], train_source: str) -> Split:
    """A split whose kinds are all among those of train. Raises InputError for the first row that has another."""
    for row, spans in enumerate(table.spans):
        for span in spans:
            if span.label not in kinds:
                raise InputError(
                    f"{table.at(row)}: the kind {quoted(span.label)} doesn't occur in {train_source}, which has "
                    f"{len(kinds)}: {listed(kinds)}.{did_you_mean(span.label, kinds)}"
                )
    return _split(name, table)


def _carved(table: SpanTable, counts: Counter[str], share: float, seed: int) -> tuple[Split, Split]:
    rarity = {
        kind: place for place, (kind, _) in enumerate(sorted(counts.items(), key=lambda item: (-item[1], item[0])), 1)
    }
    strata = [max((rarity[span.label] for span in spans), default=0) for spans in table.spans]
    kept, taken = carve([(text,) for text in table.texts], strata, share, seed, classes=True)
    rows = [[table.texts[row], [list(span) for span in table.spans[row]]] for row in taken]
    return parted(_split("train", table), kept, taken, rows)


def spans_at(split: Split, row: int) -> tuple[Span, ...]:
    """The spans of a row of a tagger's split."""
    found: Any = split.labels[row]
    return tuple(found)
