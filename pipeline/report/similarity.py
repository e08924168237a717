"""How alike an embedder finds texts: against given scores, or apart from texts that don't belong together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from pipeline.report import names
from pipeline.report.markup import Html, el, isolate, table
from pipeline.report.svg import Point, bounds, label, legend, picture, polyline, shape, ticks
from pipeline.report.values import count, fixed, items, mapping, mappings, number, numbers, significant, words

Report = Mapping[str, Any]
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 440.0, 260.0, 48.0, 12.0, 12.0, 34.0


def similarity(report: Report) -> Html | None:
    """A picture of cosines, and the rows where they are most wrong."""
    split, metrics = names.measured(report)
    found = mapping(metrics.get("similarity"))
    parts = [scatter(found, split), histogram(found, split), misplaced(found, split), missed(found, split)]
    return el("div", *parts) if any(parts) else None


def scatter(found: Mapping[str, Any], split: str) -> Html | None:
    """A dot for each pair: its score across, its cosine up."""
    points = [(x, y) for point in items(found.get("points")) if len(point) == 2 for x, y in [numbers(point)]]
    if not points:
        return None
    across, up = bounds([x for x, _ in points]), bounds([y for _, y in points])
    dots = [
        shape("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=2.5, cls="dot one", fill_opacity="0.45")
        for x, y in (_place(point, across, up) for point in points)
    ]
    desc = (
        f"{count(len(points))} pairs of {split}: scores from {significant(min(x for x, _ in points))} to "
        f"{significant(max(x for x, _ in points))}, cosines from {fixed(min(y for _, y in points))} to "
        f"{fixed(max(y for _, y in points))}."
    )
    title = "Cosine by score"
    drawn = picture(WIDTH, HEIGHT, title, desc, *_axes(across, up, "score", fixed), *dots)
    return el("figure", el("figcaption", el("b", title)), drawn, el("p", desc, cls="small"), cls="narrow")


def histogram(found: Mapping[str, Any], split: str) -> Html | None:
    """Two outlines over the cosine: texts that belong together, and texts that don't, each as shares of its own."""
    edges = numbers(found.get("edges"))
    counts = {name: numbers(found.get(name)) for name in ("together", "apart")}
    if len(edges) < 2 or any(len(one) != len(edges) - 1 for one in counts.values()) or not sum(counts["together"]):
        return None
    shares = {name: [value / (sum(one) or 1.0) for value in one] for name, one in counts.items()}
    across, up = (edges[0], edges[-1]), (0.0, 1.05 * max(max(one) for one in shares.values()))
    lines = [
        polyline([_place(point, across, up) for point in _steps(edges, shares[name])], f"line {cls}")
        for name, cls in (("apart", "two"), ("together", "one"))
    ]
    means = {name: _mean(edges, one) for name, one in counts.items()}
    desc = (
        f"On {split}, texts that belong together have a cosine of {fixed(means['together'])} in the mean, others of "
        f"{fixed(means['apart'])}."
    )
    title = "How alike texts are"
    drawn = picture(WIDTH, HEIGHT, title, desc, *_axes(across, up, "cosine", _percent), *lines)
    keys = legend([("one", "belong together"), ("two", "don't")])
    heading = el("figcaption", el("b", title), keys)
    return el("figure", heading, drawn, el("p", f"{desc} Up: share of the pairs.", cls="small"), cls="narrow")


def misplaced(found: Mapping[str, Any], split: str) -> Html | None:
    """The pairs whose cosine stands farthest from their score."""
    rows = [row for row in mappings(found.get("wrong")) if number(row.get("score")) is not None]
    if not rows:
        return None
    body = ([*_texts(row), significant(row.get("score")), fixed(row.get("cosine"))] for row in rows)
    caption = f"Pairs of {split} whose cosine is farthest from their score, in the order of all"
    return table(caption, ["First", "Second", "Score", "Cosine"], body, cls="samples", row_heads=False, texts=(0, 1))


def missed(found: Mapping[str, Any], split: str) -> Html | None:
    """The texts that find something else before what belongs to them."""
    rows = [row for row in mappings(found.get("wrong")) if number(row.get("rank")) is not None]
    if not rows:
        return None
    body = (
        [
            *_texts(row),
            count(row.get("rank")),
            fixed(row.get("cosine")),
            _cut(row.get("nearest")),
            fixed(row.get("nearest_cosine")),
        ]
        for row in rows
    )
    head = ["Text", "Belongs to it", "Rank", "Cosine", "Nearest instead", "Cosine"]
    caption = f"Texts of {split} that find what belongs to them last"
    return table(caption, head, body, cls="samples", row_heads=False, texts=(0, 1, 4))


def _texts(row: Mapping[str, Any]) -> list[Html]:
    texts = [*items(row.get("texts")), None, None]
    return [_cut(texts[0]), _cut(texts[1])]


def _cut(value: Any) -> Html:
    text = words(value)
    return isolate(text if len(text) <= 200 else text[:200] + "…")


def _steps(edges: Sequence[float], shares: Sequence[float]) -> list[Point]:
    """The outline of a histogram."""
    points = [(edges[0], 0.0)]
    for place, share in enumerate(shares):
        points += [(edges[place], share), (edges[place + 1], share)]
    return [*points, (edges[-1], 0.0)]


def _mean(edges: Sequence[float], counts: Sequence[float]) -> float:
    middles = [(low + high) / 2 for low, high in pairwise(edges)]
    return sum(middle * value for middle, value in zip(middles, counts, strict=True)) / (sum(counts) or 1.0)


def _place(point: Point, across: Point, up: Point) -> Point:
    x = (point[0] - across[0]) / (across[1] - across[0])
    y = (point[1] - up[0]) / (up[1] - up[0])
    return LEFT + x * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - y * (HEIGHT - TOP - BOTTOM)


def _axes(across: Point, up: Point, name: str, write: Any) -> list[Html]:
    parts: list[Html] = []
    for value in ticks(*up):
        y = _place((across[0], value), across, up)[1]
        parts += [
            shape("line", x1=LEFT, x2=WIDTH - RIGHT, y1=f"{y:.1f}", y2=f"{y:.1f}", cls="grid"),
            label(LEFT - 6, y + 3.5, write(value), anchor="end"),
        ]
    for value in ticks(*across):
        x = _place((value, up[0]), across, up)[0]
        parts.append(label(x, HEIGHT - BOTTOM + 15, f"{value:.3g}", anchor="middle"))
    parts.append(label(WIDTH - RIGHT, HEIGHT - 3, name, anchor="end"))
    return parts


def _percent(value: float) -> str:
    return f"{100 * value:.3g}%"
