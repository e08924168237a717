"""Tags in every scheme, and what is wrong with them told by place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.bio import read_tags
from serve.entities import Run
from serve.errors import InputError


def read(*sentences: str) -> list[list[tuple[str, int, int]]]:
    found = read_tags([one.split() for one in sentences], lambda sentence, word: f"at {sentence}.{word}")
    return [[tuple(run) for run in runs] for runs in found]


def test_iob2_begins_every_entity_with_b() -> None:
    assert read("B-a I-a O B-a B-a I-a", "O B-b B-a") == [
        [("a", 0, 2), ("a", 3, 4), ("a", 4, 6)],
        [("b", 1, 2), ("a", 2, 3)],
    ]


def test_iob1_needs_b_only_between_two_of_a_kind() -> None:
    assert read("I-a I-a B-a O I-b", "I-a I-b") == [[("a", 0, 2), ("a", 2, 3), ("b", 4, 5)], [("a", 0, 1), ("b", 1, 2)]]


@pytest.mark.parametrize("tags", ["B-a I-a E-a O S-b", "B-a I-a L-a O U-b", "B-a M-a E-a O S-b"])
def test_schemes_that_mark_ends_are_told_by_their_tags(tags: str) -> None:
    assert read(tags) == [[("a", 0, 3), ("b", 4, 5)]]


def test_kinds_may_have_hyphens_and_may_have_no_name() -> None:
    assert read("B-creative-work I-creative-work O") == [[("creative-work", 0, 2)]]
    assert read("B I O B") == [[("entity", 0, 2), ("entity", 3, 4)]]


@pytest.mark.parametrize(
    ("sentences", "message"),
    [
        (("B-a O", "O I-a"), r"at 1\.1: I-a continues nothing \(before it is O\); an entity begins with B-"),
        (("B-a I-b",), r"at 0\.1: I-b continues nothing \(before it is B-a\)"),
        (("B-a", "I-a B-a"), r"at 1\.0: I-a continues nothing"),
        (("B-a Z-a",), r'at 0\.1: the tag "Z-a" is neither O nor one of B, I, M, E, L, S, U with a hyphen and a kind'),
        (("o",), r'at 0\.0: the tag "o" is neither'),
        (("B-",), r'at 0\.0: the tag "B-" names no kind of entity'),
        (("S-a", "B-a I-a"), r"at 1\.1: the entity that begins with B-a ends here without E-"),
        (("S-a", "B-a O"), r"at 1\.0: the entity that begins with B-a ends here without E-"),
        (("B-a B-a E-a",), r"at 0\.0: the entity that begins with B-a ends here without E-"),
        (("B-a S-b E-a",), r"at 0\.0: the entity that begins with B-a ends here without E-"),
        (("O E-a",), r"at 0\.1: E-a continues nothing; an entity begins with B-, or is one S-"),
        (("B-a E-b",), r"at 0\.1: E-b continues nothing"),
        (("S-a I-a",), r"at 0\.1: I-a continues nothing"),
    ],
)
def test_an_error_is_told_with_its_place(sentences: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        read(*sentences)


@st.composite
def entities(draw: st.DrawFn) -> tuple[int, list[Run]]:
    """So many words, and entities of them."""
    runs, place = [], 0
    for gap, size, kind in draw(
        st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3), st.sampled_from("ab")), max_size=5)
    ):
        runs.append(Run(kind, place + gap, place + gap + size))
        place += gap + size
    return place + draw(st.integers(0, 2)), runs


def iob2(run: Run, before: Run | None) -> list[str]:
    return [f"B-{run.kind}", *[f"I-{run.kind}"] * (run.after - run.first - 1)]


def iob1(run: Run, before: Run | None) -> list[str]:
    touches = before is not None and before.after == run.first and before.kind == run.kind
    return [f"{'B' if touches else 'I'}-{run.kind}", *[f"I-{run.kind}"] * (run.after - run.first - 1)]


def bioes(run: Run, before: Run | None) -> list[str]:
    size = run.after - run.first
    return [f"S-{run.kind}"] if size == 1 else [f"{mark}-{run.kind}" for mark in f"B{'I' * (size - 2)}E"]


@given(st.lists(entities(), min_size=1, max_size=4), st.sampled_from([iob2, iob1, bioes]))
def test_what_was_written_in_a_scheme_is_read_back(sentences: list[tuple[int, list[Run]]], scheme: object) -> None:
    written = []
    for size, runs in sentences:
        tags = ["O"] * size
        for before, run in zip([None, *runs], runs, strict=False):
            tags[run.first : run.after] = scheme(run, before)  # type: ignore[operator]
        written.append(tags)
    assert read_tags(written, lambda *_: "") == [runs for _, runs in sentences]
