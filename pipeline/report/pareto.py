"""Every variant that was tried: a picture of what each costs and reaches, and the table beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.report import names
from pipeline.report.compare_axes import Axis, across, around, breadth, figure, in_two, log_axis, under
from pipeline.report.markup import Html, el, isolate, join, scroller
from pipeline.report.svg import bounds, label, shape
from pipeline.report.values import MISSING, at, items, mapping, mappings, milliseconds, number, significant, size, words

HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 300.0, 56.0, 14.0, 26.0, 46.0
SMALL, LARGE = 4.0, 13.0
"""Radius of the smallest and the largest file's mark: its area goes by its size."""
LINE = 14.5

Row = Mapping[str, Any]


def pareto(report: Mapping[str, Any]) -> Html | None:
    """The picture and the table of `candidates`; nothing where only one variant was made."""
    found = mapping(report.get("candidates"))
    rows = mappings(found.get("variants"))
    if not rows:
        return None
    rule = words(found.get("rule"))
    note = el("p", f"The default is {rule}." if rule else "", cls="small")
    return el("div", picture(found, rows), table(found, rows), note, notes(rows))


def picture(found: Row, rows: Sequence[Row]) -> Html | None:
    """Score against milliseconds a row, marks by the file's size; those that nothing beats are filled."""
    placed = [
        row
        for row in rows
        if row.get("held") is True
        and (number(at(row, "latency", "p50_ms")) or 0) > 0
        and number(row.get("score")) is not None
        and (number(row.get("bytes")) or 0) > 0
    ]
    if len(placed) < 2:
        return None
    metric = words(found.get("metric")) or "score"
    best = {words(name) for name in items(found.get("front"))}
    largest = max(number(row.get("bytes")) or 0 for row in placed)
    told = "; ".join(
        f"{words(row.get('name'))}: {names.write(metric, row.get('score'))}, "
        f"{milliseconds(at(row, 'latency', 'p50_ms'))}, {size(row.get('bytes'))}"
        for row in placed
    )

    def draw(width: float) -> tuple[float, list[Html]]:
        scores = [float(number(row.get("score")) or 0) for row in placed]
        times = [float(number(at(row, "latency", "p50_ms")) or 0) for row in placed]
        low, high = bounds(scores)
        up = Axis(low, high, HEIGHT - BOTTOM - LARGE, TOP + LARGE)
        over = log_axis(times, LEFT + LARGE, width - RIGHT - LARGE, 1.25)
        parts = [*across(up, LEFT, width - RIGHT, names.title(metric))]
        parts.append(shape("line", x1=LEFT, x2=width - RIGHT, y1=HEIGHT - BOTTOM, y2=HEIGHT - BOTTOM, cls="axis"))
        parts += under(over, HEIGHT - BOTTOM, "milliseconds a row, median", lambda value: f"{value:.3g}", width)
        points = [(over.at(time), up.at(score)) for time, score in zip(times, scores, strict=True)]
        radii = [max(SMALL, LARGE * ((number(row.get("bytes")) or 0) / largest) ** 0.5) for row in placed]
        for row, (x, y), radius in zip(placed, points, radii, strict=True):
            cls = "dot one" if words(row.get("name")) in best else "dot grey"
            parts.append(shape("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=f"{radius:.1f}", cls=cls))
        titles = [words(row.get("name")) for row in placed]
        taken = [(x - r, y - r, x + r, y + r) for (x, y), r in zip(points, radii, strict=True)]
        frame = (LEFT, TOP, width - RIGHT, HEIGHT - BOTTOM)
        boxes = around(points, [(breadth(title), LINE) for title in titles], taken, frame)
        parts += [label(box[0], box[3] - 3.5, title) for title, box in zip(titles, boxes, strict=True)]
        return HEIGHT, parts

    title = "What each variant costs and reaches"
    note = (
        "Higher is better, left is quicker, a mark's area is the file's size. Grey: another is at least as good in"
        " score, time, size and memory, and better in one. Validation rows; only variants that held their gate."
    )
    return el("div", figure(title, in_two(title, told, draw, 640)), el("p", note, cls="small"), cls="lone")


def table(found: Row, rows: Sequence[Row]) -> Html:
    """A row a variant, by rank."""
    metric = words(found.get("metric")) or "score"
    heads = ("Variant", names.title(metric), "Parity", "Size", "Median", "99th", "Rows/s", "Loaded", "Peak", "Gate")
    default = words(found.get("default"))
    body = []
    for row in rows:
        name = words(row.get("name"))
        mark = el("span", "default", cls="badge") if name == default else None
        made = number(row.get("bytes")) is not None
        cells: list[Html | str] = [
            names.write(metric, row.get("score")) if number(row.get("score")) is not None else MISSING,
            significant(at(row, "parity", "max_abs")) if number(at(row, "parity", "max_abs")) is not None else MISSING,
            size(row.get("bytes")),
            milliseconds(at(row, "latency", "p50_ms")),
            milliseconds(at(row, "latency", "p99_ms")),
            significant(at(row, "latency", "throughput")) if number(at(row, "latency", "throughput")) else MISSING,
            size(at(row, "memory", "loaded_bytes")),
            size(at(row, "memory", "peak_bytes")),
            "held" if row.get("held") is True else "failed" if made else "not made",
        ]
        head = el("th", join([isolate(name), mark], " "), scope="row")
        body.append(el("tr", head, *(el("td", cell or MISSING) for cell in cells)))
    caption = "Every variant that was tried, by rank"
    inner = el(
        "table",
        el("caption", caption),
        el("thead", el("tr", *(el("th", head, scope="col") for head in heads))),
        el("tbody", *body),
    )
    return scroller(caption, inner)


def notes(rows: Sequence[Row]) -> Html | None:
    """Why some failed, and what each needs of its target."""
    told = []
    for row in rows:
        said = [words(row.get("why")), *(words(remark) for remark in items(row.get("remarks")))]
        if any(said):
            told.append(el("li", el("b", isolate(words(row.get("name")))), ": ", "; ".join(filter(None, said)), "."))
    return el("ul", *told, cls="small") if told else None
