"""Spans as they are given, checked against their text, and made into tags."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.spans import Span, checked_spans, parse_spans, widened, word_tags
from serve.errors import InputError
from serve.words import words_of

TEXT = "The Zürich-based pump leaks."


@pytest.mark.parametrize(
    "item",
    [
        {"start": 4, "end": 10, "label": "place"},
        {"end": 10, "start": 4, "type": " place ", "text": "Zürich", "id": 7},
        {"start_offset": 4, "end_offset": 10, "label": "place"},
        [4, 10, "place"],
        (4, 10, "place"),
    ],
)
def test_spans_are_read_in_the_forms_that_tools_write(item: Any) -> None:
    assert parse_spans([item], "here") == [Span(4, 10, "place")]
    assert TEXT[4:10] == "Zürich"


def test_null_and_an_empty_list_are_no_spans() -> None:
    assert parse_spans(None, "here") == parse_spans([], "here") == []


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("x", r'here: the spans are no list but str \("x"\)'),
        ({"start": 1}, "here: the spans are no list but dict"),
        ([{"start": 1, "end": 2}], "here: span 1: .* lacks a start, an end or a label"),
        ([[1, 2, "a"], [1, 2]], r'here: span 2: "\[1, 2\]" is neither an object nor a list of start, end and label'),
        ([[1.0, 2, "a"]], "here: span 1: start and end are whole numbers of characters"),
        ([[True, 2, "a"]], "here: span 1: start and end are whole numbers of characters"),
        ([["1", "2", "a"]], "here: span 1: start and end are whole numbers of characters"),
        ([[1, 2, " "]], r'here: span 1: the label is no text \(" "\)'),
        ([[1, 2, 3]], r'here: span 1: the label is no text \("3"\)'),
        ([None], 'here: span 1: "None" is neither'),
    ],
)
def test_other_forms_are_refused(value: Any, message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        parse_spans(value, "here")


@pytest.mark.parametrize(
    ("spans", "message"),
    [
        ([(-1, 3)], r"here: the span -1 to 3 \(x\) lies outside of the text, which has 28 characters"),
        ([(20, 29)], r"here: the span 20 to 29 \(x\) lies outside"),
        ([(9, 4)], r"here: the span 9 to 4 \(x\) lies outside"),
        ([(4, 4)], r'here: the span 4 to 4 \(x\) holds no word \(""\)'),
        ([(3, 4)], r'here: the span 3 to 4 \(x\) holds no word \(" "\)'),
        ([(4, 10), (4, 10)], r'here: the spans 4 to 10 \(x\) and 4 to 10 \(x\) share the word "Zürich"'),
        ([(4, 16), (11, 21)], r'here: the spans 4 to 16 \(x\) and 11 to 21 \(x\) share the word "based"'),
        ([(7, 10), (4, 7)], r'here: the spans 4 to 7 \(x\) and 7 to 10 \(x\) share the word "Zürich"'),
    ],
)
def test_spans_that_cannot_be_are_refused(spans: list[tuple[int, int]], message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        checked_spans([Span(*span, "x") for span in spans], TEXT, "here")


def test_spans_come_in_the_order_of_the_text() -> None:
    given_spans = [Span(17, 21, "thing"), Span(4, 10, "place")]
    assert checked_spans(given_spans, TEXT, "here") == (Span(4, 10, "place"), Span(17, 21, "thing"))


def test_tags_are_those_of_whole_words() -> None:
    spans = [Span(5, 13, "place"), Span(17, 28, "event")]
    assert word_tags(spans, TEXT) == ["O", "B-place", "I-place", "I-place", "B-event", "I-event", "I-event"]


@given(st.text(alphabet="ab .日\u0301", max_size=30), st.lists(st.tuples(st.integers(-1, 31), st.integers(-1, 31))))
def test_what_is_let_through_makes_as_many_entities_as_there_are_spans(
    text: str, places: list[tuple[int, int]]
) -> None:
    spans = [Span(start, end, "x") for start, end in places]
    try:
        checked = checked_spans(spans, text, "here")
    except InputError as error:
        assert str(error).startswith("here: the span")
        return
    tags = word_tags(checked, text)
    assert len(tags) == len(words_of(text))
    assert tags.count("B-x") == len(spans)
    for (start, end), tag in zip(words_of(text).tolist(), tags, strict=True):
        assert (tag != "O") == any(span.start < end and start < span.end for span in checked)


def test_spans_within_words_are_counted() -> None:
    spans = checked_spans([Span(5, 13, "a"), Span(17, 21, "a"), Span(22, 27, "a")], TEXT, "here")
    assert widened(spans, TEXT) == 1
    assert (
        widened(checked_spans([Span(3, 11, "a")], TEXT, "here"), TEXT) == 0
    )  # a space and a hyphen are no word's part
