"""What a tagger found: texts with their entities marked, and where it went wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.report import names
from pipeline.report.markup import Html, el, isolate, join, table, text
from pipeline.report.values import count, items, mapping, mappings, number, percent, words

Report = Mapping[str, Any]
Span = Mapping[str, Any]
COLOURS = 8
LONGEST = 700  # characters of a text that are shown
MISTAKES = {
    "missed": "missed: nothing was found there",
    "made_up": "made up: there is none",
    "ends": "of the right kind, with other ends",
    "kind": "with the right ends, of another kind",
    "both": "where there is one of another kind, with other ends",
}


def is_tagger(report: Report) -> bool:
    return report.get("task") == "token-classification"


def samples(report: Report) -> Html | None:
    """Texts as the bundle answered them, beside what is true of them."""
    rows = mappings(report.get("samples"))
    if not rows:
        return None
    kinds = kinds_of(report)
    return el("div", legend(kinds), el("div", *(marked_row(row, kinds) for row in rows), cls="marked"))


def mistakes(report: Report) -> Html | None:
    """How many entities were got wrong in which way, and some of the texts."""
    split, metrics = names.measured(report)
    found = mapping(metrics.get("mistakes"))
    total = sum(number(found.get(key)) or 0 for key in MISTAKES)
    if not total:
        return None
    rows = ([told, count(found[key]), percent((number(found[key]) or 0) / total)] for key, told in MISTAKES.items())
    shown = mappings(metrics.get("wrong"))
    kinds = kinds_of(report)
    return el(
        "div",
        table(f"Mistakes on {split}", ["An entity was", "Entities", "Share"], rows, cls="compact"),
        el("h3", f"Texts of {split} with mistakes") if shown else None,
        el("div", *(marked_row(row, kinds) for row in shown), cls="marked") if shown else None,
    )


def kinds_of(report: Report) -> list[str]:
    """The kinds of entities, by their tags."""
    tags = [words(label) for label in items(report.get("labels"))]
    return [tag.removeprefix("B-") for tag in tags if tag.startswith("B-")]


def legend(kinds: Sequence[str]) -> Html:
    """Each kind in its colour, and how a mark says right, missed and wrong."""
    shown = [mark(kind, "", kinds) for kind in kinds]
    signs = "✕ found but not so in the data, dashed: in the data but not found"
    return el("p", join(shown, " "), el("span", signs, cls="small"), cls="kinds")


def marked_row(row: Mapping[str, Any], kinds: Sequence[str]) -> Html:
    """A text with its entities: what was found, right or wrong, and what was missed."""
    whole = words(row.get("text"))
    found, truth = (_spans(row.get(key), len(whole)) for key in ("entities", "truth"))
    parts: list[Html | str] = []
    reached = 0
    for span, state, note in _judged(found, truth, whole):
        if span["start"] < reached or span["end"] > LONGEST:
            continue
        inside = whole[span["start"] : span["end"]]
        parts += [whole[reached : span["start"]], mark(inside, state, kinds, words(span.get("label")), note)]
        reached = span["end"]
    rest = whole[reached:LONGEST]
    parts.append(rest if len(whole) <= LONGEST else rest + "…")
    return el("p", el("bdi", *parts))


def mark(inside: str, state: str, kinds: Sequence[str], kind: str = "", note: str = "") -> Html:
    """A piece of text in the colour of its kind, which is told after it; alone it is the kind itself."""
    of = kind or inside
    colour = kinds.index(of) % COLOURS + 1 if of in kinds else COLOURS
    sign = {"wrong": "✕ ", "missed": "missed "}.get(state, "")
    told = el("small", f" {sign}", isolate(kind), f" {note}" if note else None) if kind else None
    return el("mark", Html(text(inside)), told, cls=f"entity k{colour} {state}".strip())


def _judged(found: Sequence[Span], truth: Sequence[Span], whole: str) -> list[tuple[Span, str, str]]:
    """What is drawn, in the text's order: each found entity with its state, and each missed one that touches none."""
    rightly = {(span["start"], span["end"], span.get("label")) for span in truth}
    drawn: list[tuple[Span, str, str]] = []
    for span in found:
        if (span["start"], span["end"], span.get("label")) in rightly:
            drawn.append((span, "", ""))
            continue
        there = [one for one in truth if _touch(one, span)]
        told = ", ".join(f"{words(one.get('label'))} “{whole[one['start'] : one['end']]}”" for one in there)
        drawn.append((span, "wrong", f"(true: {told})" if told else ""))
    missed = [span for span in truth if not any(_touch(span, one) for one in found)]
    return sorted([*drawn, *((span, "missed", "") for span in missed)], key=lambda one: one[0]["start"])


def _touch(one: Span, other: Span) -> bool:
    return bool(one["start"] < other["end"] and other["start"] < one["end"])


def _spans(value: Any, size: int) -> list[Span]:
    """Those that lie in a text of so many characters."""
    return [
        span
        for span in mappings(value)
        if type(span.get("start")) is int and type(span.get("end")) is int and 0 <= span["start"] < span["end"] <= size
    ]
