"""Bars of what a method takes while it trains: time for a step, and memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipeline.compare.result import Comparison
from pipeline.report.compare_axes import figure, fit
from pipeline.report.compare_look import Entry
from pipeline.report.compare_words import memory
from pipeline.report.markup import Html, el
from pipeline.report.svg import label, picture, shape
from pipeline.report.values import NBSP, number, significant

WIDTH, ROW = 400.0, 36.0


def bars(document: Comparison, listed: Sequence[Entry]) -> Html | None:
    """Seconds a step and peak memory."""
    where = str(document["machine"].get("device") or "cpu")
    of = "allocated on the GPU" if where.startswith("cuda") else "of the process, all that it loads included"
    made = [
        chart("Seconds a step", [(e, e.result["seconds_per_step"]) for e in listed], seconds),
        chart("Peak memory", [(e, e.result["peak_memory_bytes"]) for e in listed], memory),
    ]
    drawn = [each for each in made if each is not None]
    if not drawn:
        return None
    note = f"Seconds: the mean of the seeds. Memory: the largest of the seeds, {of}. Trained on {where}."
    return el("div", el("div", *drawn, cls="pair"), el("p", note, cls="small"))


def seconds(value: float) -> str:
    """Three figures, as means compare."""
    return f"{significant(value)}{NBSP}s"


def chart(title: str, rows: Sequence[tuple[Entry, float | None]], write: Callable[[float], str]) -> Html | None:
    """A bar a method from zero, its name and number above it."""
    known = [(entry, x) for entry, value in rows if (x := number(value)) is not None and x >= 0]
    if not known:
        return None
    top = max(value for _, value in known) or 1.0
    parts: list[Html] = []
    for i, (entry, value) in enumerate(known):
        y, written = i * ROW, write(value)
        weight = " bold" if entry.chosen else ""
        parts += [
            label(1, y + 13, fit(entry.title, 280), cls=f"name{weight}"),
            label(WIDTH - 1, y + 13, written, cls=f"name value{weight}", anchor="end"),
            shape("rect", x=0, y=y + 19, width=WIDTH, height=9, rx=2, cls="track"),
            shape(
                "rect",
                x=0,
                y=y + 19,
                width=f"{max(1.5, WIDTH * value / top):.1f}",
                height=9,
                rx=2,
                cls=f"hue-bar {entry.look.cls}",
            ),
        ]
    told = "; ".join(f"{entry.title}: {write(value)}" for entry, value in known)
    return figure(title, picture(WIDTH, ROW * len(known), title, told, *parts))
