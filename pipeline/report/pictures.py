"""Example images with their answers, and the sizes of the images that were learned from."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.report.markup import Html, el, isolate, table
from pipeline.report.svg import bar
from pipeline.report.values import MISSING, at, count, mappings, number, percent, words

_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")

Report = Mapping[str, Any]


def has_pictures(report: Report) -> bool:
    """Whether any example is an image."""
    return any(_source(row) for row in mappings(report.get("samples")))


def gallery(rows: Sequence[Mapping[str, Any]]) -> Html:
    """An image each, below it what was answered, how sure, and the truth where that is another."""
    return el("div", *(_figure(row) for row in rows if _source(row)), cls="gallery")


def picture_table(splits: Mapping[str, Mapping[str, Any]]) -> Html:
    """A row a split: rows, the images' sizes, how many the model enlarges, and where they came from."""
    rows = (
        [
            name,
            count(split.get("rows")),
            _size(split, "min"),
            _size(split, "median"),
            _size(split, "max"),
            count(at(split, "pixels", "smaller")),
            isolate(words(split.get("source")) or MISSING),
        ]
        for name, split in splits.items()
    )
    head = ["Split", "Images", "Least pixels", "Median", "Most", "Smaller than the input", "From"]
    return table("Splits", head, rows, cls="splits", texts=(6,))


def _source(row: Mapping[str, Any]) -> str | None:
    found = row.get("image")
    return found if isinstance(found, str) and _BASE64.fullmatch(found) else None


def _figure(row: Mapping[str, Any]) -> Html:
    answer, truth, share = words(row.get("label")) or MISSING, words(row.get("truth")), number(row.get("score")) or 0.0
    wrong = bool(truth) and truth != answer
    told = f"{words(row.get('text'))}: {answer}{f', but it is {truth}' if wrong else ''}"
    lines = [
        el("b", isolate(answer)),
        el("span", bar(share), percent(share), cls="measure"),
        el("span", "✗ is ", isolate(truth), cls="wrong") if wrong else None,
    ]
    image = el("img", src=f"data:image/png;base64,{_source(row)}", alt=told)
    return el("figure", image, el("figcaption", *lines), cls="shot")


def _size(split: Mapping[str, Any], which: str) -> str:
    sides = [at(split, "pixels", side, which) for side in ("width", "height")]
    return " × ".join(count(side) for side in sides)
