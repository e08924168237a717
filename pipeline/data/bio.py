"""Tags of words read as entities, in any of the usual schemes: IOB1, IOB2, and those that mark ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from pipeline.data.wording import quoted
from serve.entities import OUTSIDE, Run
from serve.errors import InputError

UNNAMED = "entity"
"""The kind of entities whose tags name none: `B`, `I`, `O`."""
_PREFIXES = {"B": "B", "I": "I", "M": "I", "E": "E", "L": "E", "S": "S", "U": "S"}
_MARKS_ENDS = "MELSU"

At = Callable[[int, int], str]
"""Where the tag of a sentence's word stands, for messages."""


class Tag(NamedTuple):
    """`prefix` is O, B, I, E (the last of several) or S (the only one)."""

    prefix: str
    kind: str
    written: str


_OUT = Tag(OUTSIDE, "", OUTSIDE)


def read_tags(sentences: Sequence[Sequence[str]], at: At) -> list[list[Run]]:
    """The entities of each sentence, whose words have these tags.

    The scheme is told by all of them: tags that mark ends (E, L, M, S, U) make it BIOES. Else, where more entities
    begin with `I-` than with a `B-` that IOB1 would do without, it is IOB1; else IOB2. Raises InputError, with `at`
    before it: an unknown prefix, an `I-` that continues nothing, an entity whose end is missing.
    """
    parsed = [
        [_parsed(tag, partial(at, number, place)) for place, tag in enumerate(tags)]
        for number, tags in enumerate(sentences)
    ]
    if any(tag.written[:1] in _MARKS_ENDS for tags in parsed for tag in tags):
        return [_with_ends(tags, partial(at, number)) for number, tags in enumerate(parsed)]
    if not _is_iob1(parsed):
        for number, tags in enumerate(parsed):
            _check_begun(tags, partial(at, number))
    return [_without_ends(tags) for tags in parsed]


def is_tag(text: str) -> bool:
    """Whether a text is a tag of any scheme."""
    return text == OUTSIDE or text.partition("-")[0] in _PREFIXES


def _parsed(tag: str, where: Callable[[], str]) -> Tag:
    if tag == OUTSIDE:
        return _OUT
    prefix, dash, kind = tag.partition("-")
    if not is_tag(tag):
        raise InputError(
            f"{where()}: the tag {quoted(tag, 30)} is neither O nor one of {', '.join(_PREFIXES)} "
            "with a hyphen and a kind"
        )
    if dash and not kind.strip():
        raise InputError(f"{where()}: the tag {quoted(tag, 30)} names no kind of entity")
    return Tag(_PREFIXES[prefix], kind.strip() or UNNAMED, tag)


def _is_iob1(sentences: Sequence[Sequence[Tag]]) -> bool:
    loose = needless = 0
    for tags in sentences:
        for before, tag in zip([_OUT, *tags], tags, strict=False):
            if tag.kind != before.kind:
                loose += tag.prefix == "I"
                needless += tag.prefix == "B"
    return loose > needless


def _check_begun(tags: Sequence[Tag], at: Callable[[int], str]) -> None:
    """Raise InputError for an entity that doesn't begin with `B-`, as in IOB2 each does."""
    for place, (before, tag) in enumerate(zip([_OUT, *tags], tags, strict=False)):
        if tag.prefix == "I" and tag.kind != before.kind:
            raise InputError(
                f"{at(place)}: {tag.written} continues nothing (before it is {before.written}); "
                "an entity begins with B-"
            )


def _without_ends(tags: Sequence[Tag]) -> list[Run]:
    """IOB1 and IOB2: an entity goes on in each `I-` of its kind."""
    runs: list[Run] = []
    for place, (before, tag) in enumerate(zip([_OUT, *tags], tags, strict=False)):
        if tag.prefix == "I" and tag.kind == before.kind:
            runs[-1] = runs[-1]._replace(after=place + 1)
        elif tag.prefix != OUTSIDE:
            runs.append(Run(tag.kind, place, place + 1))
    return runs


def _with_ends(tags: Sequence[Tag], at: Callable[[int], str]) -> list[Run]:
    """BIOES: an entity of one word has S, one of several begins with B and ends with E."""
    runs: list[Run] = []
    begun: int | None = None
    for place, tag in enumerate([*tags, _OUT]):
        if tag.prefix in "IE":
            if begun is None or tags[begun].kind != tag.kind:
                raise InputError(
                    f"{at(place)}: {tag.written} continues nothing; an entity begins with B-, or is one S-"
                )
        elif begun is not None:
            raise InputError(f"{at(place - 1)}: the entity that begins with {tags[begun].written} ends here without E-")
        if tag.prefix == "B":
            begun = place
        elif tag.prefix == "S":
            runs.append(Run(tag.kind, place, place + 1))
        elif tag.prefix == "E" and begun is not None:
            runs.append(Run(tag.kind, begun, place + 1))
            begun = None
    return runs
