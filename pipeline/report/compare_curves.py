"""How fast each method gets there: the validation metric and the loss, against steps and against seconds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from pipeline.compare.result import Comparison, MethodResult
from pipeline.report import names
from pipeline.report.compare_axes import (
    LINE,
    Axis,
    across,
    apart,
    breadth,
    figure,
    fit,
    in_two,
    under,
    writer,
)
from pipeline.report.compare_look import Entry, marker
from pipeline.report.compare_words import better, digits, fixed
from pipeline.report.markup import Html, el
from pipeline.report.svg import Point, bounds, label, polyline, shape, thin
from pipeline.report.values import number

LEFT, BOTTOM = 48.0, 46.0
MANY = 24
UNITS = ((2 * 3600.0, 3600.0, "hours"), (180.0, 60.0, "minutes"), (0.0, 1.0, "seconds"))


@dataclass(frozen=True)
class Line:
    """A method's line: its points in data units."""

    entry: Entry
    points: list[Point]


def curves(document: Comparison, listed: Sequence[Entry]) -> Html | None:
    """The comparison's metric after each epoch."""
    metric = document["metric"]
    made = pair(
        listed,
        f"Validation {names.within(metric)}",
        lambda one, x: points_of([(row.get(x), row.get(metric)) for row in one["epochs"]]),
        dots=True,
    )
    if made is None:
        return None
    note = f"After each epoch, of the first seed at the method's chosen rate; {better(document, metric)}."
    return el("div", made, el("p", f"{note} Seconds include the validations.", cls="small"))


def losses(_: Comparison, listed: Sequence[Entry]) -> Html | None:
    """The training loss, its running mean where it is noisy."""
    many = any(len(entry.result["curve"]) > MANY for entry in listed)

    def read(one: MethodResult, x: str) -> list[Point]:
        found = points_of([(row["step"] if x == "step" else row["seconds"], row["loss"]) for row in one["curve"]])
        return running(found, max(3, len(found) // 25)) if len(found) > MANY else found

    made = pair(listed, "Training loss", read, dots=False)
    if made is None:
        return None
    note = f"Of the first seed at the method's chosen rate{', as a running mean' if many else ''}."
    return el("div", made, el("p", f"{note} Lower is better.", cls="small"))


def points_of(pairs: Sequence[tuple[object, object]]) -> list[Point]:
    """Those of which both are numbers."""
    found = ((number(a), number(b)) for a, b in pairs)
    return [(a, b) for a, b in found if a is not None and b is not None]


def running(points: Sequence[Point], reach: int) -> list[Point]:
    """Mean of each point and up to `reach` on either side: as many on both at the start, where a loss falls fast;
    all there are on the left at the end, where one batch's noise would stand for what was reached."""
    ys = [y for _, y in points]
    return [(x, fmean(ys[max(0, i - reach) : i + min(reach, i) + 1])) for i, (x, _) in enumerate(points)]


def pair(
    listed: Sequence[Entry], title: str, read: Callable[[MethodResult, str], list[Point]], *, dots: bool
) -> Html | None:
    """Two pictures of the same: against steps, against seconds."""
    made = []
    for x, said in (("step", "by steps"), ("seconds", "by time")):
        lines = [Line(entry, found) for entry in listed if (found := read(entry.result, x))]
        name = "steps of training"
        if lines and x == "seconds":
            last = max(line.points[-1][0] for line in lines)
            _, unit, word = next(each for each in UNITS if last >= each[0])
            lines = [Line(line.entry, [(at / unit, y) for at, y in line.points]) for line in lines]
            name = f"{word} of training"
        if lines:
            made.append(chart(f"{title} {said}", name, lines, dots))
    return el("div", *made, cls="pair") if made else None


def chart(title: str, x_name: str, lines: Sequence[Line], dots: bool) -> Html:
    """One line a method over one pair of axes, its name at its end."""
    ys = [y for line in lines for _, y in line.points]
    after = digits(ys)
    low, high = bounds(ys)
    log = min(ys) > 0 and max(ys) / min(ys) > 25
    if log:
        low, high = min(ys) / 1.1, max(ys) * 1.1
    last = max(x for line in lines for x, _ in line.points)
    top = 26.0 if log else 12.0
    height = max(290.0, top + BOTTOM + LINE * len(lines))
    told = "; ".join(
        f"{line.entry.title}: {fixed(line.points[0][1], after)} at {line.points[0][0]:.4g}, "
        f"{fixed(line.points[-1][1], after)} at {line.points[-1][0]:.4g} {x_name}"
        for line in lines
    )

    def draw(width: float) -> tuple[float, list[Html]]:
        written = [fit(line.entry.title, 0.27 * width) for line in lines]
        room = 34 + max(
            breadth(words) * (1.06 if line.entry.chosen else 1) for words, line in zip(written, lines, strict=True)
        )
        right = width - room
        up = Axis(low, high, height - BOTTOM, top, log)
        along = Axis(0.0, last or 1.0, LEFT, right)
        parts = across(up, LEFT, right, "logarithmic scale" if log else "")
        base = height - BOTTOM
        parts.append(shape("line", x1=LEFT, x2=f"{right:.1f}", y1=base, y2=base, cls="axis"))
        parts += under(along, base, x_name, writer(along.ticks(6)), right + 14)
        placed = [[(along.at(x), up.at(y)) for x, y in thin(line.points)] for line in lines]
        heights = apart([points[-1][1] for points in placed], LINE, top, base - 4)
        for line, points, words, y in zip(lines, placed, written, heights, strict=True):
            parts += one(line.entry, points, dots)
            end_x, end_y = points[-1]
            d = f"M{end_x:.1f} {end_y:.1f}L{right + 4:.1f} {end_y:.1f}L{right + 14:.1f} {y:.1f}"
            parts.append(shape("path", d=d, cls=f"lead-line {line.entry.look.cls}"))
            parts.append(marker(line.entry.look, right + 20, y, 4))
            cls = "name bold" if line.entry.chosen else "name"
            parts.append(label(right + 28, y + 4.2, words, cls=cls))
        return height, parts

    return figure(title, in_two(title, told, draw, 460))


def one(entry: Entry, points: Sequence[Point], dots: bool) -> list[Html]:
    """A line, with a mark at each point where they are few."""
    parts = [polyline(points, entry.look.line)] if len(points) > 1 else []
    if len(points) == 1 or (dots and len(points) <= 12):
        parts += [marker(entry.look, x, y, 3.6) for x, y in points]
    return parts
