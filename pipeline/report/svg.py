"""Line charts and bars as SVG: colours by class only, a title and a description in every picture."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from pipeline.report.markup import Html, el, join, text

Point = tuple[float, float]
MAX_POINTS = 400
LEVELS = 10


@dataclass(frozen=True)
class Series:
    """One line of a chart: its legend, its points in data units and its CSS class."""

    name: str
    points: Sequence[Point]
    cls: str
    dots: bool = False


def shape(tag: str, **attributes: object) -> Html:
    """An empty SVG element."""
    pairs = [
        f' {"class" if key == "cls" else key.replace("_", "-")}="{text(value)}"'
        for key, value in attributes.items()
        if value is not None
    ]
    return Html(f"<{tag}{''.join(pairs)}/>")


def picture(width: float, height: float, title: str, desc: str, *parts: Html, cls: str = "plot") -> Html:
    """An SVG in its own coordinates that scales with the page."""
    inner = (el("title", title), el("desc", desc), *parts)
    return el("svg", *inner, viewBox=f"0 0 {width:g} {height:g}", role="img", cls=cls)


def label(x: float, y: float, words: str, cls: str = "tick", anchor: str = "start") -> Html:
    """Text in a picture."""
    return el("text", words, x=f"{x:.1f}", y=f"{y:.1f}", cls=cls, text_anchor=anchor)


def thin(points: Sequence[Point], limit: int = MAX_POINTS) -> list[Point]:
    """At most `limit` points, the last one kept."""
    if len(points) <= limit:
        return list(points)
    step = (len(points) - 1) / (limit - 1)
    return [points[round(i * step)] for i in range(limit)]


def smooth(points: Sequence[Point], reach: int) -> list[Point]:
    """Mean of each point and up to `reach` neighbours on either side, as many on both so that it lags nowhere."""
    sums = [0.0, *accumulate(y for _, y in points)]
    result: list[Point] = []
    for i, (x, _) in enumerate(points):
        near = min(reach, i, len(points) - 1 - i)
        result.append((x, (sums[i + near + 1] - sums[i - near]) / (2 * near + 1)))
    return result


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers from within [low, high]."""
    span = high - low
    if not span > 0 or not math.isfinite(span):
        return [low]
    raw = span / wanted
    power = 10.0 ** math.floor(math.log10(raw))
    step = next((m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999), 10 * power)
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def polyline(points: Iterable[Point], cls: str) -> Html:
    """A line through points in picture units."""
    return shape("path", d="M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points), cls=cls)


def bounds(values: Sequence[float]) -> tuple[float, float]:
    """Smallest and largest value with a margin, never equal."""
    low, high = min(values), max(values)
    pad = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    return low - pad, high + pad


def line_chart(
    title: str,
    desc: str,
    series: Sequence[Series],
    x_name: str,
    y_text: Callable[[float], str],
    *,
    whole_x: bool = False,
) -> Html | None:
    """Lines over one pair of axes, with a legend when there are several; `None` without a point."""
    drawn = [s for s in series if s.points]
    if not drawn:
        return None
    width, height, left, right, top, bottom = 360.0, 210.0, 48.0, 12.0, 12.0, 34.0
    xs = [x for s in drawn for x, _ in s.points]
    x_low, x_high = (min(xs), max(xs)) if min(xs) < max(xs) else (min(xs) - 1, max(xs) + 1)
    y_low, y_high = bounds([y for s in drawn for _, y in s.points])

    def place(point: Point) -> Point:
        x, y = point
        across = (x - x_low) / (x_high - x_low)
        up = (y - y_low) / (y_high - y_low)
        return left + across * (width - left - right), height - bottom - up * (height - top - bottom)

    parts: list[Html] = []
    for value in ticks(y_low, y_high):
        y = place((x_low, value))[1]
        line = shape("line", x1=left, x2=width - right, y1=f"{y:.1f}", y2=f"{y:.1f}", cls="grid")
        parts += [line, label(left - 6, y + 3.5, y_text(value), anchor="end")]
    for value in ticks(x_low, x_high):
        if whole_x and value != round(value):
            continue
        parts.append(label(place((value, y_low))[0], height - bottom + 15, f"{value:,.5g}", anchor="middle"))
    parts.append(label(width - right, height - 3, x_name, anchor="end"))
    for s in drawn:
        placed = [place(point) for point in thin(s.points)]
        if len(placed) > 1:
            parts.append(polyline(placed, f"line {s.cls}"))
        if s.dots or len(placed) == 1:
            parts += [shape("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=3, cls=f"dot {s.cls}") for x, y in placed]
    heading = el("figcaption", el("b", title), legend([(s.cls, s.name) for s in drawn]) if len(drawn) > 1 else None)
    return el("figure", heading, picture(width, height, title, desc, *parts))


def legend(entries: Iterable[tuple[str, str]]) -> Html:
    """Small coloured keys with their names."""
    keys = (el("span", el("i", cls=f"key {cls}", aria_hidden="true"), name) for cls, name in entries)
    return el("span", join(keys), cls="legend")


def bar(part: float, cls: str = "") -> Html:
    """A bar filled to `part` in [0, 1]; the number stands beside it, so it is hidden from screen readers."""
    filled = shape("rect", width=f"{100 * min(1.0, max(0.0, part)):.1f}", height=6, cls=f"fill {cls}".strip())
    track = shape("rect", width=100, height=6, cls="track")
    box = {"viewBox": "0 0 100 6", "preserveAspectRatio": "none", "aria_hidden": "true"}
    return el("svg", track, filled, cls="bar", **box)


def level(value: float, top: float, least: int = 0) -> int:
    """Which of the `LEVELS` shades a value has, 0 none at all; a positive one has `least` or more."""
    if value <= 0 or top <= 0:
        return 0
    return min(LEVELS, max(least, round(LEVELS * min(1.0, value / top))))


def cells(boxes: Iterable[tuple[int, float, float, float, float]]) -> Html:
    """Rectangles (level, x, y, width, height) as one path a level; level 0 is left to the background."""
    paths: dict[int, list[str]] = {}
    for shade, x, y, w, h in boxes:
        if shade:
            paths.setdefault(shade, []).append(f"M{x:.4g} {y:.4g}h{w:.4g}v{h:.4g}h-{w:.4g}z")
    return join(shape("path", d="".join(d), cls=f"s{shade}") for shade, d in sorted(paths.items()))


def scale(low: str, high: str) -> Html:
    """The key to the shades, from nothing to the most."""
    boxes = (shape("rect", x=10 * i, width=10, height=10, cls=f"s{i}") for i in range(LEVELS + 1))
    strip = el("svg", *boxes, viewBox=f"0 0 {10 * (LEVELS + 1)} 10", cls="scale", aria_hidden="true")
    return el("span", low, strip, high, cls="legend")
