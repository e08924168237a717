"""Entities of a tagger's outputs."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.entities import Run, kinds_of, runs_of, tags_of, tags_problem
from serve.tagging import entities_of, word_logits
from serve.tasks import task_of
from serve.windows import Windows

TAGS = ("O", "B-ill", "I-ill", "B-pump", "I-pump")


def windows(text: str, places: list[tuple[int, int, int, int]], shared: tuple[int, ...] = ()) -> Windows:
    """Of words with (start, end, window, token)."""
    table = np.array(places, dtype=np.int64).reshape(-1, 4)
    flags = np.isin(np.arange(len(table)), shared)
    return Windows(text, (), table[:, :2], table[:, 2], table[:, 3], flags)


def logits(*best: int, sure: float = 20.0) -> np.ndarray:
    return (np.eye(len(TAGS))[list(best)] * sure).astype(np.float32)


@pytest.mark.parametrize(
    ("tags", "shared", "runs"),
    [
        ([], [], []),
        ([0, 0], [], []),
        ([1, 2, 0, 1], [], [("ill", 0, 2), ("ill", 3, 4)]),
        ([1, 1, 2], [], [("ill", 0, 1), ("ill", 1, 3)]),
        ([2, 2, 0, 2], [], [("ill", 0, 2), ("ill", 3, 4)]),
        ([1, 4, 4], [], [("ill", 0, 1), ("pump", 1, 3)]),
        ([1, 1, 2], [1], [("ill", 0, 3)]),
        ([0, 1, 1, 1], [2], [("ill", 1, 3), ("ill", 3, 4)]),
    ],
)
def test_tags_are_read_generously(tags: list[int], shared: list[int], runs: list[tuple[str, int, int]]) -> None:
    flags = np.isin(np.arange(len(tags)), shared)
    assert runs_of(np.array(tags, dtype=np.intp), flags, TAGS) == [Run(*run) for run in runs]


def test_an_entity_has_its_characters_and_the_mean_of_its_words_probabilities() -> None:
    outputs = np.zeros((4, 5), dtype=np.float32)
    outputs[1, 3], outputs[2, 4], outputs[3, 0] = np.log(4), np.log(6), 9.0
    found = entities_of([outputs], windows("leaky pump  hall x", [(0, 5, 0, 1), (6, 10, 0, 2), (12, 16, 0, 3)]), TAGS)
    assert [(one.label, one.start, one.end, one.text) for one in found] == [("pump", 0, 10, "leaky pump")]
    assert found[0].score == pytest.approx((4 / 8 + 6 / 10) / 2)


def test_a_word_is_answered_by_its_window() -> None:
    spread = windows("a b c", [(0, 1, 0, 1), (2, 3, 1, 0), (4, 5, 1, 2)])
    found = entities_of([logits(0, 1, 0), logits(2, 0, 3)], spread, TAGS)
    assert [(one.label, one.text) for one in found] == [("ill", "a b"), ("pump", "c")]


def test_a_word_that_no_token_stands_for_is_outside() -> None:
    spread = windows("x a", [(0, 1, -1, -1), (2, 3, 0, 0)], shared=(0,))
    found = word_logits([logits(1)], spread)
    assert found[0].argmax() == 0 and found[1].argmax() == 1
    assert [one.text for one in entities_of([logits(1)], spread, TAGS)] == ["a"]


def test_a_text_without_words_has_no_entities() -> None:
    assert entities_of([logits(0, 0)], windows("", []), TAGS) == ()


@given(st.lists(st.integers(0, 4), max_size=12))
def test_entities_are_whole_words_in_order_that_never_overlap(tags: list[int]) -> None:
    text = "ab " * len(tags)
    spread = windows(text, [(3 * place, 3 * place + 2, 0, place) for place in range(len(tags))])
    outputs = logits(*tags) if tags else logits(0)
    found = entities_of([outputs], spread, TAGS)
    assert all(one.text == text[one.start : one.end] and one.start % 3 == 0 and one.end % 3 == 2 for one in found)
    assert all(left.end <= right.start for left, right in pairwise(found))
    inside = {place for one in found for place in range(one.start // 3, one.end // 3 + 1)}
    assert inside == {place for place, tag in enumerate(tags) if tag}


@pytest.mark.parametrize("kinds", [(), ("a",), ("creative-work", "B-x", "O")])
def test_tags_name_their_kinds(kinds: tuple[str, ...]) -> None:
    assert kinds_of(tags_of(kinds)) == kinds
    assert len(tags_of(kinds)) == 1 + 2 * len(kinds)
    assert bool(tags_problem(tags_of(kinds))) == (not kinds)


@pytest.mark.parametrize(
    "tags",
    [(), ("O",), ("B-a", "I-a", "O"), ("O", "B-a"), ("O", "I-a", "B-a"), ("O", "B-", "I-"), ("O", *("B-a", "I-a") * 2)],
)
def test_other_labels_are_no_tags(tags: tuple[str, ...]) -> None:
    assert tags_problem(tags) == "a tagger's labels are O, then B- and I- of each kind of entity"


def test_a_bundle_s_labels_must_be_tags_one_for_each_logit() -> None:
    task = task_of("token-classification")
    assert task.labels_problem(TAGS, 5) == task.labels_problem(TAGS) == ""
    assert task.labels_problem(TAGS, 4) == "5 labels for an output 4 wide"
    assert task.labels_problem(("a", "b", "c"), 3).startswith("a tagger's labels are O, then B- and I-")
