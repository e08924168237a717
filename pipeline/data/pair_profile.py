"""What an embedding's data looks like, and what about it should make a person pause."""

from __future__ import annotations

import math
from typing import Any

from pipeline.data.dataset import Dataset, Split
from pipeline.data.profiling import CountTokens, duplicates, number_facts, overlap, split_facts
from pipeline.data.warning_sentences import text_warnings, truncation_warnings


def profile_pairs(dataset: Dataset, count_tokens: CountTokens, max_length: int) -> dict[str, Any]:
    """Describe an embedding's dataset as JSON-able values.

    As `profiling.profile` does; tokens are those of a row's longest text. Rows with scores have `numbers`; others have
    `pairs` in their place: how many different `first` texts there are, and how many different texts to `find`.
    """
    found: dict[str, Any] = {
        "task": dataset.task,
        "labels": [],
        "max_length": max_length,
        "splits": {
            split.name: {**split_facts(split, lambda texts: _longest(texts, count_tokens), max_length), **_own(split)}
            for split in dataset.splits()
        },
        "duplicates": duplicates(dataset.train, lambda label: label),
        "overlap": overlap(dataset),
    }
    found["warnings"] = text_warnings(found) + truncation_warnings(found)
    return found


def _longest(texts: list[tuple[str, ...]], count_tokens: CountTokens) -> list[int]:
    fields = [count_tokens([(row[field],) for row in texts]) for field in range(len(texts[0]))]
    return [max(counts) for counts in zip(*fields, strict=True)]


def _own(split: Split) -> dict[str, Any]:
    if not math.isnan(split.labels[0]):
        return {"numbers": number_facts(split.labels)}
    find = {text for row in split.texts for text in row[1:]}
    return {"pairs": {"first": len({row[0] for row in split.texts}), "find": len(find)}}
