"""What a tagger's data looks like, and what about it should make a person pause."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from pipeline.data.dataset import Dataset, Split
from pipeline.data.entities import spans_at
from pipeline.data.profiling import CountTokens, duplicates, overlap, split_facts
from pipeline.data.spans import widened
from pipeline.data.warning_sentences import text_warnings
from pipeline.data.wording import listed
from serve.entities import kinds_of
from serve.words import words_of

FEW_ENTITIES = 20  # a kind with fewer in train is hardly learned, and its validation entities say little


def profile_entities(dataset: Dataset, count_tokens: CountTokens, max_length: int) -> dict[str, Any]:
    """Describe a tagger's dataset as JSON-able values.

    As `profiling.profile` does, but that of each split are told, in place of `classes`: `entities` (how many by kind),
    `words`, `without` (rows that have no entity) and `widened` (spans that begin or end within a word, which is then
    taken whole). `few_entities` (below, kinds) and `missing` count entities. Rows longer than `max_length` tokens are
    not cut but read in windows.
    """
    kinds = kinds_of(dataset.labels)
    found: dict[str, Any] = {
        "task": dataset.task,
        "labels": list(kinds),
        "max_length": max_length,
        "splits": {
            split.name: {**split_facts(split, count_tokens, max_length), **_entities(split, kinds)}
            for split in dataset.splits()
        },
        "duplicates": duplicates(dataset.train, _told),
        "overlap": overlap(dataset),
    }
    by_kind = {name: split["entities"] for name, split in found["splits"].items()}
    few = {kind: count for kind, count in by_kind["train"].items() if count < FEW_ENTITIES}
    found["few_entities"] = {"below": FEW_ENTITIES, "kinds": few}
    found["missing"] = {name: [kind for kind, count in counts.items() if not count] for name, counts in by_kind.items()}
    found["warnings"] = text_warnings(found) + _warnings(found)
    return found


def _entities(split: Split, kinds: tuple[str, ...]) -> dict[str, Any]:
    rows = [(spans_at(split, row), text) for row, (text,) in enumerate(split.texts)]
    counts = Counter(span.label for spans, _ in rows for span in spans)
    return {
        "entities": {kind: counts[kind] for kind in kinds},
        "words": sum(len(words_of(text)) for _, text in rows),
        "without": sum(not spans for spans, _ in rows),
        "widened": sum(widened(spans, text) for spans, text in rows),
    }


def _told(spans: Any) -> str:
    """The labels of a row's spans on one line."""
    return listed(f"{span.label} {span.start}-{span.end}" for span in spans)


def _warnings(found: Mapping[str, Any]) -> list[str]:
    sentences = []
    for name, split in found["splits"].items():
        if split["widened"]:
            subject = "1 span" if split["widened"] == 1 else f"{split['widened']:,} spans"
            verb = "begins or ends" if split["widened"] == 1 else "begin or end"
            sentences.append(f"{subject} of {name} {verb} within a word, which is taken whole.")
    few = found["few_entities"]
    if few["kinds"]:
        subject = "1 kind has" if len(few["kinds"]) == 1 else f"{len(few['kinds'])} kinds have"
        rare = listed((f"{name} ({count})" for name, count in few["kinds"].items()), 8)
        sentences.append(f"{subject} fewer than {few['below']} entities in train: {rare}.")
    for name, kinds in found["missing"].items():
        if kinds:
            subject = "1 kind has" if len(kinds) == 1 else f"{len(kinds)} kinds have"
            sentences.append(f"{subject} no entity in {name}: {listed(kinds, 8)}.")
    return sentences
