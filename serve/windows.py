"""A text's tokens in windows that a model can take, and which token of which window answers for each word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from serve.errors import InputError
from serve.words import Words, words_of

MAX_WINDOWS = 256
_OVERLAP = 4  # a quarter of a window is in the next one too
_SEARCH = 8  # of a window: how far an end moves to fall between words

Places = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Windows:
    """A text as a tagger reads it.

    `pieces` are int64 (3, n): ids, attention mask and types, special tokens included. `words (words, 2)` are the words'
    characters. Word i is answered by token `token[i]` of piece `window[i]`: the first that begins in it or covers it,
    in the window where that is farthest from a cut. A word that no token of its own stands for (`shared[i]`) has that
    of the word before; where there is none, `window[i]` is -1.
    """

    text: str
    pieces: tuple[npt.NDArray[np.int64], ...]
    words: Words
    window: Places
    token: Places
    shared: npt.NDArray[np.bool_]


def windows_of(encoding: Any, text: str, max_length: int) -> Windows:
    """Cut what `tokenizers` made of a text (an `Encoding`, special tokens included, neither cut nor padded).

    Each window has at most `max_length` tokens, a quarter of them in the next one too, and begins and ends between
    words where a word ends near. Raises InputError where `max_length` has no room, or the text needs more than
    `MAX_WINDOWS`.
    """
    columns = np.array([encoding.ids, encoding.attention_mask, encoding.type_ids], dtype=np.int64)
    special = np.array([owner is None for owner in encoding.sequence_ids], dtype=bool)
    inner = np.flatnonzero(~special)
    words = words_of(text)
    first = _first_tokens(np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)[inner], words)
    answering = np.maximum.accumulate(first)
    shared = first < 0
    shared[1:] |= answering[1:] == answering[:-1]
    cuts = _cuts(len(inner), max_length - int(special.sum()), np.unique(first[first >= 0]))
    if not cuts:
        raise InputError(f"max_length {max_length} has no room for a token beside the special ones")
    if len(cuts) > MAX_WINDOWS:
        raise InputError(
            f"a text of {len(inner):,} tokens needs more than {MAX_WINDOWS} windows of {max_length}; split it"
        )
    window = _windows_of_tokens(cuts, answering)
    token = np.full(len(words), -1, dtype=np.int64)
    pieces = []
    for number, (start, after) in enumerate(cuts):
        keep = special.copy()
        keep[inner[start:after]] = True
        pieces.append(columns[:, keep])
        mine = window == number
        token[mine] = (np.cumsum(keep) - 1)[inner[answering[mine]]]
    return Windows(text, tuple(pieces), words, window, token, shared)


def _first_tokens(offsets: Places, words: Words) -> Places:
    """For each word the first token, (start, after) in characters, that shares a character with it; -1: none."""
    starts, ends = offsets[:, 0], np.where(offsets[:, 1] > offsets[:, 0], offsets[:, 1], -1)
    reached = np.maximum.accumulate(ends) if len(ends) else ends
    found = np.searchsorted(reached, words[:, 0], side="right")
    inside = found < len(starts)
    inside[inside] = starts[found[inside]] < words[inside, 1]
    return np.where(inside, found, -1)


def _cuts(tokens: int, room: int, begins: Places) -> list[tuple[int, int]]:
    """(start, after) of each window over so many tokens, of which `begins` begin words; at most one window more than
    is allowed, and none where there is no room."""
    if room < 1:
        return []
    if tokens <= room:
        return [(0, tokens)]
    cuts: list[tuple[int, int]] = []
    start, near = 0, room // _SEARCH
    while len(cuts) <= MAX_WINDOWS:
        after = start + room
        if after >= tokens:
            cuts.append((start, tokens))
            break
        after = _back(begins, after, near)
        cuts.append((start, after))
        start = max(start + 1, _back(begins, after - room // _OVERLAP, near))
    return cuts


def _back(begins: Places, place: int, near: int) -> int:
    """The last token at or before `place`, and at most `near` before it, that begins a word; else `place`."""
    index = int(np.searchsorted(begins, place, side="right")) - 1
    return int(begins[index]) if index >= 0 and begins[index] >= place - near else place


def _windows_of_tokens(cuts: Sequence[tuple[int, int]], tokens: Places) -> Places:
    """The window in which each token is farthest from a cut: halfway through each overlap it changes. -1 for -1."""
    halves = [(start + after + 1) // 2 for (_, after), (start, _) in pairwise(cuts)]
    found = np.searchsorted(np.array(halves, dtype=np.int64), tokens, side="right")
    return np.where(tokens < 0, -1, found)
