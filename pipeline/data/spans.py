"""Spans of a text that carry a label, and the tags of the text's words that say the same."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from pipeline.data.wording import quoted
from serve.entities import OUTSIDE, Run
from serve.errors import InputError
from serve.words import Words, words_of

_STARTS, _ENDS, _LABELS = ("start", "start_offset"), ("end", "end_offset"), ("label", "type", "entity")


class Span(NamedTuple):
    """Characters `start` to before `end` of a text, in code points, and what they are."""

    start: int
    end: int
    label: str


def parse_spans(value: Any, where: str) -> list[Span]:
    """Spans as JSON has them: objects with `start`, `end` and `label` (or `type`), or lists of the three; null is none.

    Raises InputError, beginning with `where`, for anything else.
    """
    if value is None:
        return []
    if not isinstance(value, list | tuple):
        raise InputError(f"{where}: the spans are no list but {type(value).__name__} ({quoted(value, 30)})")
    return [_parsed(item, f"{where}: span {place}") for place, item in enumerate(value, start=1)]


def _parsed(item: Any, where: str) -> Span:
    if isinstance(item, dict):
        parts = [next((item[key] for key in keys if key in item), None) for keys in (_STARTS, _ENDS, _LABELS)]
        if None in parts:
            raise InputError(f"{where}: {quoted(item, 60)} lacks a start, an end or a label")
    elif isinstance(item, list | tuple) and len(item) == 3:
        parts = list(item)
    else:
        raise InputError(f"{where}: {quoted(item, 60)} is neither an object nor a list of start, end and label")
    start, end, label = parts
    if type(start) is not int or type(end) is not int:
        raise InputError(f"{where}: start and end are whole numbers of characters (got {quoted([start, end], 60)})")
    if not isinstance(label, str) or not label.strip():
        raise InputError(f"{where}: the label is no text ({quoted(label, 30)})")
    return Span(start, end, label.strip())


def checked_spans(spans: Iterable[Span], text: str, where: str) -> tuple[Span, ...]:
    """The spans in the text's order: an entity is made of whole words.

    Raises InputError, beginning with `where`, for one that lies outside of the text or holds no word of it, and for two
    that share a character or a word.
    """
    ordered = tuple(sorted(spans))
    for span in ordered:
        if not 0 <= span.start <= span.end <= len(text):
            raise InputError(
                f"{where}: the span {_told(span)} lies outside of the text, which has {len(text)} characters"
            )
    words = words_of(text)
    before: tuple[Span, int] | None = None
    for span, (first, after) in zip(ordered, _covered(ordered, words), strict=True):
        if first == after:
            shown = quoted(text[span.start : span.end], 30)
            raise InputError(f"{where}: the span {_told(span)} holds no word ({shown})")
        if before is not None and first < before[1]:
            shared = quoted(text[slice(*words[first].tolist())], 30)
            raise InputError(f"{where}: the spans {_told(before[0])} and {_told(span)} share the word {shared}")
        before = span, after
    return ordered


def word_tags(spans: Sequence[Span], text: str) -> list[str]:
    """The tag of each word of the text: `O`, `B-` and a span's label where it begins, `I-` where it goes on."""
    words = words_of(text)
    tags = [OUTSIDE] * len(words)
    for span, (first, after) in zip(spans, _covered(spans, words), strict=True):
        tags[first:after] = [f"B-{span.label}", *[f"I-{span.label}"] * (after - first - 1)]
    return tags


def word_runs(spans: Sequence[Span], text: str) -> list[Run]:
    """The words that each span takes."""
    places = zip(spans, _covered(spans, words_of(text)), strict=True)
    return [Run(span.label, first, after) for span, (first, after) in places]


def widened(spans: Sequence[Span], text: str) -> int:
    """How many of the spans begin or end within a word, which they are then taken to hold whole."""
    words = words_of(text)
    places = zip(spans, _covered(spans, words), strict=True)
    return sum(bool(words[first, 0] < span.start or words[after - 1, 1] > span.end) for span, (first, after) in places)


def _covered(spans: Sequence[Span], words: Words) -> list[tuple[int, int]]:
    """The words, first to before after, that each span shares a character with."""
    starts, ends = (np.array([span[side] for span in spans], dtype=np.int64) for side in (0, 1))
    first = np.searchsorted(words[:, 1], starts, side="right")
    after = np.maximum(first, np.searchsorted(words[:, 0], ends, side="left"))
    return list(zip(first.tolist(), after.tolist(), strict=True))


def _told(span: Span) -> str:
    return f"{span.start} to {span.end} ({quoted(span.label, 30)[1:-1]})"
