"""The words of a text, by a rule over its characters alone: whatever the tokenizer, in training and on a device."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.int64]
"""Places in a text, (words, 2): each word's first character and the one after its last, in code points."""

_ASCII = re.compile(r"[A-Za-z0-9]+|[!-~]")
_BREAK, _RUN, _ALONE, _GLUED = range(4)
_UNSPACED = (  # scripts whose words have no space between them, or particles that no space sets off
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x2E80, 0x2FDF),  # radicals
    (0x3005, 0x3007),
    (0x3021, 0x318F),  # kana, bopomofo
    (0x31A0, 0x31FF),
    (0x3400, 0x4DBF),  # ideographs
    (0x4E00, 0x9FFF),
    (0xAC00, 0xD7A3),  # Hangul syllables
    (0xF900, 0xFAFF),
    (0xFF66, 0xFF9F),  # half-width katakana
    (0x1B000, 0x1B16F),
    (0x20000, 0x3FFFF),
)


def words_of(text: str) -> Words:
    """Every word of a text, in order: a run of letters and digits; any other visible character alone; each character
    of a script without spaces (Chinese, Japanese, Korean, Thai, ...) alone.

    Marks and invisible joiners belong to the character that they follow. White space and control characters divide.
    """
    places = [match.span() for match in _ASCII.finditer(text)] if text.isascii() else _places(text)
    return np.array(places, dtype=np.int64).reshape(-1, 2)


def _places(text: str) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    start = -1  # of the word that is being read
    before = _BREAK  # what that word is made of
    for place, character in enumerate(text):
        kind = _kind(character)
        if kind == _GLUED:
            if before == _BREAK and unicodedata.category(character) != "Cf":
                start, before = place, _RUN
            continue
        if kind == _RUN and before == _RUN:
            continue
        if start >= 0:
            found.append((start, place))
        start, before = (-1, _BREAK) if kind == _BREAK else (place, kind)
    if start >= 0:
        found.append((start, len(text)))
    return found


@lru_cache(maxsize=1 << 16)
def _kind(character: str) -> int:
    category = unicodedata.category(character)
    if category[0] == "M" or category == "Cf":
        return _GLUED
    if category[0] == "Z" or category in ("Cc", "Cs"):
        return _BREAK
    code = ord(character)
    if category[0] in "LN" and not any(first <= code <= last for first, last in _UNSPACED):
        return _RUN
    return _ALONE
