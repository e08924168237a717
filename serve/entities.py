"""Entities, and the tags of words that make them: BIO, read as generously as it is taught strictly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

OUTSIDE = "O"


@dataclass(frozen=True, slots=True)
class Entity:
    """What was found in a text: `text` is its characters from `start` to before `end`, counted in code points; `score`
    the mean probability of its words' tags."""

    label: str
    start: int
    end: int
    text: str
    score: float


class Run(NamedTuple):
    """Words `first` to before `after` are an entity of a kind."""

    kind: str
    first: int
    after: int


def tags_of(kinds: Sequence[str]) -> tuple[str, ...]:
    """The tags for these kinds of entities, in the order of a model's outputs: `O`, then `B-` and `I-` of each."""
    return (OUTSIDE, *(f"{prefix}-{kind}" for kind in kinds for prefix in "BI"))


def kinds_of(tags: Sequence[str]) -> tuple[str, ...]:
    """The kinds of entities that tags are for, in their order."""
    return tuple(tag[2:] for tag in tags if tag.startswith("B-"))


def tags_problem(tags: Sequence[str]) -> str:
    """What is wrong with these as a tagger's labels, or ""."""
    kinds = kinds_of(tags)
    if not kinds or "" in kinds or len(set(kinds)) < len(kinds) or tuple(tags) != tags_of(kinds):
        return "a tagger's labels are O, then B- and I- of each kind of entity"
    return ""


def runs_of(best: npt.NDArray[np.intp], shared: npt.NDArray[np.bool_], tags: Sequence[str]) -> list[Run]:
    """The entities that words make, in order; `best (words,)` are the places of their tags in `tags`.

    An `I-` that continues nothing begins one. A word that shares the token of the word before (`shared (words,)`) goes
    on as that did.
    """
    found: list[Run] = []
    for place in np.flatnonzero(best).tolist():
        prefix, _, kind = tags[best[place]].partition("-")
        last = found[-1] if found else None
        if last and last.after == place and last.kind == kind and (prefix == "I" or shared[place]):
            found[-1] = last._replace(after=place + 1)
        else:
            found.append(Run(kind, place, place + 1))
    return found
