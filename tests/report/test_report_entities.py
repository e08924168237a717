"""The page of a tagger: entities marked in their texts, rightly or wrongly."""

from __future__ import annotations

import re
from typing import Any

import made_up

from pipeline.report import render
from pipeline.report.entities import kinds_of, marked_row, mistakes, samples

KINDS = ["part", "place"]


def span(label: str, start: int, end: int) -> dict[str, Any]:
    return {"label": label, "start": start, "end": end}


def row(text: str, entities: list[dict[str, Any]], truth: list[dict[str, Any]]) -> dict[str, Any]:
    return {"text": text, "entities": entities, "truth": truth}


def report() -> dict[str, Any]:
    made = made_up.report()
    labels = ["O", *(f"{prefix}-{kind}" for kind in KINDS for prefix in "BI")]
    classes = [{"label": kind, "precision": 0.5, "recall": 0.25, "f1": 0.333, "support": 12} for kind in KINDS]
    wrong = [row("the red pump of Rome", [span("part", 8, 12)], [span("part", 4, 12), span("place", 16, 20)])]
    test = {
        "entity_f1": 0.8125,
        "entity_precision": 0.8,
        "entity_recall": 0.83,
        "per_class": classes,
        "mistakes": {"missed": 3, "made_up": 2, "ends": 1, "kind": 0, "both": 0},
        "wrong": wrong,
    }
    for split in made["data"]["splits"].values():
        split["entities"] = dict.fromkeys(KINDS, 7)
        del split["classes"]
    samples_made = [row("the pump leaks", [span("part", 4, 8)], [span("part", 4, 8)])]
    return made | {
        "task": "token-classification",
        "labels": labels,
        "metrics": {"test": test},
        "samples": samples_made,
    }


def plain(html: object) -> str:
    return re.sub(r"\s+", " ", re.sub("<[^>]*>", "", str(html)))


def test_the_page_speaks_of_entities() -> None:
    page = render(report())
    said = plain(page)
    assert "A tagger for 2 kinds of entities" in said
    assert "Test entity F1" in said and "0.812" in said
    assert "Entities of each kind" in said and "Per kind on test" in said
    assert "Mistakes on test" in said and "missed: nothing was found there" in said
    assert "Confusion" not in said


def test_a_right_entity_is_marked_with_its_kind() -> None:
    html = str(marked_row(row("the pump leaks", [span("part", 4, 8)], [span("part", 4, 8)]), KINDS))
    assert "the <mark" in html and "</mark> leaks" in html
    assert 'class="entity k1"' in html
    assert plain(html) == "the pump part leaks"


def test_a_wrong_one_says_what_is_true_and_a_missed_one_that_it_is_missed() -> None:
    made = report()["metrics"]["test"]["wrong"][0]
    html = str(marked_row(made, KINDS))
    assert plain(html) == "the red pump ✕ part (true: part “red pump”) of Rome missed place"
    assert 'class="entity k1 wrong"' in html and 'class="entity k2 missed"' in html


def test_texts_are_escaped_and_long_ones_end() -> None:
    html = str(marked_row(row("<b>&" + "x" * 2000, [span("part", 0, 3), span("part", 900, 950)], []), KINDS))
    assert "&lt;b&gt;" in html and "<b>" not in html
    assert html.count("<mark") == 1 and "…" in html


def test_spans_that_do_not_lie_in_the_text_or_overlap_are_left_out() -> None:
    spans = [span("part", 0, 3), span("part", 2, 5), span("part", 4, 99), span("part", -1, 2), {"start": "x"}]
    html = str(marked_row(row("abcdef", spans, []), KINDS))
    assert html.count("<mark") == 1
    assert plain(html).endswith("def")


def test_nothing_is_shown_where_there_is_nothing() -> None:
    assert samples({"task": "token-classification"}) is None
    assert mistakes({"metrics": {"test": {"entity_f1": 1.0, "mistakes": {"missed": 0}}}}) is None
    assert kinds_of({}) == []
    assert "0 kinds of entities" in plain(render({"task": "token-classification"}))
