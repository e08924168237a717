"""The sentences that a profile says to a person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.data.labels import MAX_INTEGER_CLASSES, parse_number
from pipeline.data.wording import listed, quoted

TRUNCATED_SHARE = 0.05  # fewer truncated rows than this are not worth a sentence


def warnings_for(found: Mapping[str, Any]) -> list[str]:
    """One sentence for each thing in a profile that deserves a look, the gravest first."""
    return text_warnings(found) + truncation_warnings(found) + _classes(found) + _numbers(found)


def truncation_warnings(found: Mapping[str, Any]) -> list[str]:
    """What there is to say of texts that are cut."""
    sentences = []
    for name, split in found["splits"].items():
        sentences += _truncated(name, split, found["max_length"])
    return sentences


def text_warnings(found: Mapping[str, Any]) -> list[str]:
    """What there is to say of the texts, whatever their labels are."""
    sentences = _leaks(found) + _conflicts(found)
    for name, split in found["splits"].items():
        sentences += _empty(name, split)
    return sentences


def _rows(count: int) -> str:
    return f"{count:,} row" if count == 1 else f"{count:,} rows"


def _leaks(found: Mapping[str, Any]) -> list[str]:
    sentences = []
    for pair, count in found["overlap"].items():
        if count:
            name = pair.removeprefix("train_")
            have = "has a text that is" if count == 1 else "have texts that are"
            sentences.append(
                f"{_rows(count)} of {name} {have} in train too: those answers may be remembered, not learned."
            )
    return sentences


def _conflicts(found: Mapping[str, Any]) -> list[str]:
    duplicates = found["duplicates"]
    sentences = []
    if duplicates["conflicting"]:
        first = duplicates["examples"][0]
        where = f" (lines {', '.join(map(str, first['lines']))})" if first["lines"] else ""
        labels = listed(dict.fromkeys(map(str, first["labels"])), 3)
        many = duplicates["conflicting"]
        subject = "1 text stands" if many == 1 else f"{many:,} texts stand"
        sentences.append(
            f"{subject} in train with different labels, such as {quoted(' | '.join(first['text']), 50)}"
            f"{where}: {labels}."
        )
    if duplicates["rows"]:
        verb = "repeats" if duplicates["rows"] == 1 else "repeat"
        sentences.append(f"{_rows(duplicates['rows'])} of train {verb} the text of an earlier one.")
    return sentences


def _empty(name: str, split: Mapping[str, Any]) -> list[str]:
    empty = split["empty_texts"]
    if not empty["count"]:
        return []
    verb = "has an empty text" if empty["count"] == 1 else "have an empty text"
    first = f", first at {', '.join(map(str, empty['first']))}" if empty["first"] else ""
    return [f"{_rows(empty['count'])} of {name} {verb}{first}."]


def _truncated(name: str, split: Mapping[str, Any], max_length: int) -> list[str]:
    share = split["tokens"]["truncated_share"]
    if share <= TRUNCATED_SHARE:
        return []
    return [
        f"{share:.0%} of {name} is longer than {max_length} tokens and loses its end; the longest has "
        f"{split['tokens']['max']:,}."
    ]


def _classes(found: Mapping[str, Any]) -> list[str]:
    sentences = []
    names = found["labels"]
    if len(names) > MAX_INTEGER_CLASSES and all(parse_number(name) is not None for name in names):
        sentences.append(
            f'{len(names)} numbers are taken for classes; if they are amounts, say data.task = "regression".'
        )
    few = found["few_rows"]
    if few["classes"]:
        subject = "1 class has" if len(few["classes"]) == 1 else f"{len(few['classes'])} classes have"
        rare = listed((f"{name} ({count})" for name, count in few["classes"].items()), 8)
        sentences.append(f"{subject} fewer than {few['below']} rows in train: {rare}.")
    for name, classes in found["missing"].items():
        if classes:
            subject = "1 class has" if len(classes) == 1 else f"{len(classes)} classes have"
            sentences.append(f"{subject} no row in {name}: {listed(classes, 8)}.")
    return sentences


def _numbers(found: Mapping[str, Any]) -> list[str]:
    train = found["splits"]["train"].get("numbers")
    if train is None:
        return []
    if train["min"] == train["max"]:
        return [f"Every row of train has the number {train['min']:g}: there is nothing to learn."]
    sentences = []
    if train["whole"]:
        sentences.append(
            'Every label of train is a whole number; if they are class numbers, say data.task = "classification".'
        )
    for name, split in found["splits"].items():
        if split["numbers"]["min"] < train["min"] or split["numbers"]["max"] > train["max"]:
            sentences.append(f"{name} holds numbers outside those of train ({train['min']:g} to {train['max']:g}).")
    return sentences
