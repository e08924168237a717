"""Words by the rule over characters."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.words import _places, words_of

TEXTS = st.text(alphabet=st.characters(codec="utf-8"), max_size=60)


def split(text: str) -> list[str]:
    return [text[start:end] for start, end in words_of(text)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("  \t\n", []),
        ("The pump's 2.5 l_x!", ["The", "pump", "'", "s", "2", ".", "5", "l", "_", "x", "!"]),
        ("Zürich–Kärnten", ["Zürich", "–", "Kärnten"]),
        ("e\u0301te\u0301", ["e\u0301te\u0301"]),
        ("東京タワーへ", ["東", "京", "タ", "ワ", "ー", "へ"]),
        ("서울에서 3월", ["서", "울", "에", "서", "3", "월"]),
        ("สวัสดี", ["ส", "วั", "ส", "ดี"]),
        ("Москва-река", ["Москва", "-", "река"]),
        ("दिल्ली में", ["दिल्ली", "में"]),
        ("👩🏽‍🔬x", ["👩", "🏽\u200d", "🔬", "x"]),
        ("soft\u00adhyphen", ["soft\u00adhyphen"]),
        ("\u200b \u0301a", ["\u0301a"]),
        ("a\u00a0b\u3000c", ["a", "b", "c"]),
    ],
)
def test_a_text_is_divided_by_its_characters_alone(text: str, words: list[str]) -> None:
    assert split(text) == words


@given(TEXTS)
def test_words_cover_every_visible_character_once_and_in_order(text: str) -> None:
    words = words_of(text)
    assert words.dtype == np.int64 and words.shape[1] == 2
    flat = words.ravel().tolist()
    assert flat == sorted(flat) and all(start < end for start, end in words)
    inside = {place for start, end in words for place in range(start, end)}
    for place, character in enumerate(text):
        category = unicodedata.category(character)
        if category[0] in "LNPSM":
            assert place in inside
        elif category[0] == "Z" or category == "Cc":
            assert place not in inside


@given(st.text(alphabet=st.characters(codec="ascii"), max_size=60))
def test_the_short_way_for_ascii_is_the_long_way(text: str) -> None:
    assert list(map(tuple, words_of(text).tolist())) == _places(text)


@given(TEXTS, TEXTS)
def test_a_space_divides_whatever_is_around_it(left: str, right: str) -> None:
    shifted = words_of(right)[:] + len(left) + 1
    assert np.concatenate([words_of(left), shifted]).tolist() == words_of(f"{left} {right}").tolist()
