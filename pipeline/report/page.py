"""The report page: a report's numbers as one self-contained HTML file."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pipeline.report.adapters import adapters
from pipeline.report.data import data
from pipeline.report.details import footer, reproduce
from pipeline.report.gates import gates
from pipeline.report.headline import header, notice, tiles
from pipeline.report.markup import Html, el
from pipeline.report.pictures import has_pictures
from pipeline.report.quality import quality, samples
from pipeline.report.spectrum import spectrum
from pipeline.report.style import style
from pipeline.report.training import trained, training
from pipeline.report.values import words
from pipeline.report.variants import variants

Section = Callable[[Mapping[str, Any]], Html | None]

SECTIONS: tuple[tuple[str, str, Section], ...] = (
    ("gates", "Gates", gates),
    ("adapters", "Adapters", adapters),
    ("quality", "Quality", quality),
    ("samples", "Examples", samples),
    ("variants", "Variants", variants),
    ("training", "Training", training),
    ("trained", "What was trained", trained),
    ("spectrum", "What was learned", spectrum),
    ("data", "Data", data),
    ("reproduce", "Reproduce", reproduce),
)


def render(report: Mapping[str, Any]) -> str:
    """A report (format `svfit-report`, version 1) as one HTML page that loads nothing and runs nothing.

    Every part of the report may be missing; its section is then left out. Text from the report is escaped
    and keeps its own writing direction. The same report gives the same page.
    """
    found = contents((key, title, section(report)) for key, title, section in SECTIONS)
    top = el("div", tiles(report), notice(report))
    body = el("body", header(report), el("main", top, *found), footer(report))
    name = words(report.get("name")) or "Untitled"
    top_of_page = head(name, images=has_pictures(report))
    return f"<!doctype html>\n{el('html', top_of_page, body, lang='en')}\n"


def contents(made: Iterable[tuple[str, str, Html | None]]) -> list[Html]:
    """The links to all parts that there are, given as `(key, title, inner)`, then the parts; nothing where none is."""
    parts = [(key, title, inner) for key, title, inner in made if inner]
    links = (el("li", el("a", title, href=f"#{key}")) for key, title, _ in parts)
    nav = [el("nav", el("ul", *links), aria_label="Sections")] if parts else []
    return nav + [
        el("section", el("h2", title, id=f"{key}-title"), inner, id=key, aria_labelledby=f"{key}-title")
        for key, title, inner in parts
    ]


def head(name: str, kind: str = "report", more: str = "", images: bool = False) -> Html:
    """The head: nothing may be loaded, and only this very style sheet, with `more` rules at its end, is allowed, and
    `images` that are in the page itself."""
    sheet = style() + more
    digest = base64.b64encode(hashlib.sha256(sheet.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    policy += "; img-src data:" if images else ""
    return el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=policy),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("meta", name="referrer", content="no-referrer"),
        el("title", f"{name} · svfit {kind}"),
        el("style", Html(sheet)),
    )
