"""Texts in windows, and which token answers for which word."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from serve.errors import InputError
from serve.windows import MAX_WINDOWS, Windows, windows_of

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,'-"


def wordpiece(special: bool = True) -> Tokenizer:
    """Every word in pieces of one or two characters."""
    pieces = [*LETTERS, *(f"##{letter}" for letter in LETTERS), *(f"##{a}{b}" for a in "abc" for b in "abc")]
    vocabulary = {piece: place for place, piece in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *pieces])}
    core = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=1000))  # noqa: S106
    core.normalizer = normalizers.BertNormalizer(lowercase=True)
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    if special:
        core.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
    return core


def bytes_bpe(trim: bool) -> Tokenizer:
    """Bytes, and `..` as one: a token that covers two words."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: place for place, letter in enumerate(["<s>", "</s>", *alphabet, ".."])}
    core = Tokenizer(models.BPE(vocabulary, [(".", ".")]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=trim),
            processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]),
        ]
    )
    return core


TOKENIZERS = {
    "wordpiece": wordpiece(),
    "bare": wordpiece(special=False),
    "bytes": bytes_bpe(True),
    "untrimmed": bytes_bpe(False),
}


def cut(text: str, max_length: int = 512, name: str = "wordpiece") -> Windows:
    return windows_of(TOKENIZERS[name].encode(text), text, max_length)


def answering(windows: Windows, name: str = "wordpiece") -> list[str | None]:
    """The token that answers for each word."""
    return [
        TOKENIZERS[name].id_to_token(int(windows.pieces[window][0, token])) if window >= 0 else None
        for window, token in zip(windows.window, windows.token, strict=True)
    ]


def test_a_words_first_token_answers_for_it() -> None:
    windows = cut("abab x, y")
    assert [piece.shape for piece in windows.pieces] == [(3, 8)]
    assert answering(windows) == ["a", "x", ",", "y"]
    assert windows.token.tolist() == [1, 4, 5, 6]  # a ##ba ##b are the first word
    assert not windows.shared.any()


def test_a_token_that_covers_two_words_answers_for_both() -> None:
    windows = cut("a.. b", name="bytes")
    assert answering(windows, "bytes") == ["a", "..", "..", "b"]
    assert windows.shared.tolist() == [False, False, True, False]


def test_a_word_without_a_token_goes_with_the_one_before_it() -> None:
    core = wordpiece()
    core.normalizer = normalizers.Replace("x", "")
    windows = windows_of(core.encode("x a x b"), "x a x b", 99)
    assert windows.window.tolist() == [-1, 0, 0, 0]
    assert windows.token.tolist() == [-1, 1, 1, 2]
    assert windows.shared.tolist() == [True, False, True, False]


def test_a_text_that_fits_is_one_window_and_one_token_more_makes_two() -> None:
    assert len(cut("a " * 10, 12).pieces) == 1
    windows = cut("a " * 11, 12)
    assert [piece.shape[1] for piece in windows.pieces] == [12, 5]
    assert [piece[0, [0, -1]].tolist() for piece in windows.pieces] == [[2, 3], [2, 3]]


def test_windows_end_between_words() -> None:
    windows = cut("abcd " * 40, 18)  # a ##bc ##d: three tokens a word, room for sixteen
    starts = {TOKENIZERS["wordpiece"].token_to_id(letter) for letter in LETTERS}
    assert len(windows.pieces) > 5
    assert all(int(piece[0, 1]) in starts for piece in windows.pieces)
    assert all(int(piece[0, -2]) not in starts for piece in windows.pieces)


def test_a_word_longer_than_a_window_is_cut_within() -> None:
    windows = cut("ab" * 200, 20)
    assert len(windows.pieces) > 8
    assert (windows.window.tolist(), windows.token.tolist()) == ([0], [1])


def test_an_empty_text_is_one_window_of_special_tokens() -> None:
    windows = cut("")
    assert [piece[0].tolist() for piece in windows.pieces] == [[2, 3]]
    assert windows.words.shape == (0, 2) and len(windows.window) == 0


def test_a_length_without_room_is_refused() -> None:
    with pytest.raises(InputError, match="max_length 2 has no room for a token beside the special ones"):
        cut("a", 2)


def test_a_text_that_needs_too_many_windows_is_refused_before_they_are_made() -> None:
    with pytest.raises(InputError, match=rf"5,000 tokens needs more than {MAX_WINDOWS} windows of 12; split it"):
        cut("a " * 5000, 12)


def test_as_many_windows_as_are_allowed_are_made() -> None:
    fitting = 10 + 8 * (MAX_WINDOWS - 1)  # ten tokens, two of them in the next window too
    assert len(cut("a " * fitting, 12).pieces) == MAX_WINDOWS
    with pytest.raises(InputError, match="split it"):
        cut("a " * (fitting + 1), 12)


@settings(max_examples=150, deadline=None)
@given(
    st.text(alphabet="abc.,' 1é日\u0301", max_size=150),
    st.integers(3, 40),
    st.sampled_from(sorted(TOKENIZERS)),
)
def test_every_word_is_answered_once_and_by_the_token_that_a_whole_text_would_have(
    text: str, max_length: int, name: str
) -> None:
    windows, whole = cut(text, max_length, name), cut(text, 100_000, name)
    assert len(whole.pieces) == 1 and all(piece.shape[1] <= max_length for piece in windows.pieces)
    assert (windows.words == whole.words).all() and (windows.shared == whole.shared).all()
    assert ((windows.window < 0) == (whole.window < 0)).all()
    assert answering(windows, name) == answering(whole, name)
    assert (np.diff(windows.window[windows.window >= 0]) >= 0).all()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(["a", "ab", "abcabc", ",", "c" * 9]), min_size=1, max_size=120), st.integers(3, 30))
def test_windows_overlap_without_a_gap_and_never_three_at_once(words: list[str], max_length: int) -> None:
    text = " ".join(words)
    encoding = TOKENIZERS["bare"].encode(text)
    numbered: Any = _Numbered(len(encoding.ids), encoding)
    pieces = [piece[0].tolist() for piece in windows_of(numbered, text, max_length).pieces]
    assert sorted({token for piece in pieces for token in piece}) == list(range(len(encoding.ids)))
    assert all(piece == list(range(piece[0], piece[-1] + 1)) for piece in pieces)
    for first, third in zip(pieces, pieces[2:], strict=False):
        assert third[0] > first[-1]
    for first, second in pairwise(pieces):
        assert second[0] > first[0]
        if max_length >= 8:
            assert second[0] <= first[-1]


class _Numbered:
    """An encoding whose tokens are numbered by their place."""

    def __init__(self, count: int, encoding: Any) -> None:
        self.ids = list(range(count))
        self.attention_mask, self.type_ids = encoding.attention_mask, encoding.type_ids
        self.sequence_ids, self.offsets = encoding.sequence_ids, encoding.offsets


def test_the_window_where_a_word_is_farthest_from_a_cut_answers() -> None:
    windows = cut("a " * 30, 18)
    sizes = [piece.shape[1] - 2 for piece in windows.pieces]
    assert sizes == [16, 16, 6] and len(windows.words) == 30
    # 0-16, 12-28, 24-30: the middle of each overlap is 14 and 26
    assert windows.window.tolist() == [0] * 14 + [1] * 12 + [2] * 4
    assert windows.token.tolist() == [*range(1, 15), *range(3, 15), *range(3, 7)]
