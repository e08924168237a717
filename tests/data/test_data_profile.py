"""What a profile finds, says and shows."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from rich.console import Console

from pipeline.data import Dataset, Split, profile, render_profile


def words(rows: list[tuple[str, ...]]) -> list[int]:
    return [sum(len(text.split()) for text in texts) for texts in rows]


def split(name: str, rows: list[tuple[str, int]] | list[tuple[str, float]]) -> Split:
    texts: list[tuple[str, ...]] = [(text,) for text, _ in rows]
    return Split(name, texts, [label for _, label in rows], f"{name}.csv", "00", list(range(2, len(rows) + 2)))


def classification() -> Dataset:
    train = [(f"row number {i}", i % 2) for i in range(20)] + [
        ("said twice", 0),
        ("said twice ", 0),
        ("disputed [b]", 0),
        ("disputed [b]", 1),
        ("", 0),
        ("one two three four five six", 2),
    ]
    validation = [("row number 3", 0), ("new", 1)]
    test = [("  ", 0), ("row number 4", 0), ("row number 5", 0), ("a b c d e f g", 1), ("", 0)]
    return Dataset(
        "text-classification",
        ("a", "b", "[red]c"),
        split("train", train),
        split("validation", validation),
        split("test", test),
    )


def regression(labels: list[float]) -> Dataset:
    train = split("train", [(f"text {i}", label) for i, label in enumerate(labels)])
    return Dataset("text-regression", (), train, split("validation", [("new", 11.5)]), None)


def test_a_profile_is_json_and_says_what_was_seen() -> None:
    found = profile(classification(), words, 5)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    train, test = found["splits"]["train"], found["splits"]["test"]
    assert train["rows"] == 26
    assert train["classes"] == {"a": 14, "b": 11, "[red]c": 1}
    assert test["tokens"] == {"min": 0, "median": 3, "p95": 7, "max": 7, "truncated": 1, "truncated_share": 0.2}
    assert train["empty_texts"] == {"count": 1, "first": [26]}
    assert test["empty_texts"] == {"count": 2, "first": [2, 6]}
    assert found["overlap"] == {"train_validation": 1, "train_test": 4}  # two of them empty, as one row of train is
    assert found["few_rows"] == {"below": 8, "classes": {"[red]c": 1}}
    assert found["missing"] == {"train": [], "validation": ["[red]c"], "test": ["[red]c"]}


def test_duplicates_and_conflicts_are_counted_with_their_lines() -> None:
    assert profile(classification(), words, 5)["duplicates"] == {
        "rows": 2,
        "texts": 2,
        "conflicting": 1,
        "examples": [{"text": ["disputed [b]"], "labels": ["a", "b"], "lines": [24, 25]}],
    }


@pytest.mark.parametrize(
    "expected",
    [
        "1 row of validation has a text that is in train too",
        "4 rows of test have texts that are in train too",
        '1 text stands in train with different labels, such as "disputed [b]" (lines 24, 25): a, b.',
        "2 rows of train repeat the text of an earlier one.",
        "1 row of train has an empty text, first at 26.",
        "2 rows of test have an empty text, first at 2, 6.",
        "20% of test is longer than 5 tokens and loses its end; the longest has 7.",
        "1 class has fewer than 8 rows in train: [red]c (1).",
        "1 class has no row in test: [red]c.",
    ],
)
def test_each_finding_has_its_sentence(expected: str) -> None:
    warnings = profile(classification(), words, 5)["warnings"]
    assert any(sentence.startswith(expected) for sentence in warnings), warnings


def test_clean_data_gets_no_warning() -> None:
    rows = [(f"row {i}", i % 2) for i in range(40)]
    dataset = Dataset(
        "text-classification", ("a", "b"), split("train", rows[:30]), split("validation", rows[30:]), None
    )
    assert profile(dataset, words, 5)["warnings"] == []


def test_a_pair_is_a_duplicate_only_as_a_pair() -> None:
    train = Split("train", [("a", "b"), ("a", "c"), ("b", "a")], [0, 1, 0], "train.csv", "00", [2, 3, 4])
    dataset = Dataset("text-classification", ("x", "y"), train, train, None)
    assert profile(dataset, words, 5)["duplicates"]["rows"] == 0


def test_numbers_get_range_mean_and_histogram() -> None:
    numbers = profile(regression([0.0, 0.5, 1.0, 10.0]), words, 5)["splits"]["train"]["numbers"]
    assert (numbers["min"], numbers["max"]) == (0.0, 10.0)
    assert numbers["mean"] == pytest.approx(2.875)
    assert numbers["histogram"]["counts"] == [2, 1, 0, 0, 0, 0, 0, 0, 0, 1]
    assert numbers["histogram"]["edges"] == pytest.approx([float(k) for k in range(11)])


def test_odd_numbers_are_told() -> None:
    def warnings(labels: list[float]) -> str:
        return " ".join(profile(regression(labels), words, 5)["warnings"])

    assert "Every row of train has the number 2" in warnings([2.0, 2.0])
    assert "whole number" in warnings([2.0, 20.0])
    assert "validation holds numbers outside those of train (0.5 to 3)" in warnings([0.5, 3.0])
    assert warnings([0.5, 20.0]) == ""


def test_the_largest_numbers_do_not_overflow() -> None:
    numbers = profile(regression([-1.7e308, 0.5, 1.7e308]), words, 5)["splits"]["train"]["numbers"]
    assert sum(numbers["histogram"]["counts"]) == 3
    json.dumps(numbers, allow_nan=False)


def test_a_counter_that_drops_rows_is_found_out() -> None:
    with pytest.raises(ValueError, match="25 lengths for 26 rows"):
        profile(classification(), lambda rows: words(rows)[1:], 5)


def shown(found: dict[str, Any]) -> str:
    stream = io.StringIO()
    render_profile(found, Console(file=stream, width=120, color_system=None))
    return stream.getvalue()


def test_it_is_shown_in_a_few_lines_and_labels_are_no_markup() -> None:
    text = shown(profile(classification(), words, 5))
    assert "[red]c" in text
    assert "3, 1 to 14" in text
    assert "20.0%" in text
    assert len(text.splitlines()) <= 4 + 12
    assert "0.5 to 20, mean 10.2" in shown(profile(regression([0.5, 20.0]), words, 5))
