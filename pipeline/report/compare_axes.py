"""Axes, and labels that keep out of each other's way."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline.report.markup import Html, el, join
from pipeline.report.svg import label, picture, shape, ticks
from pipeline.report.values import trimmed

SIZE = 12.0
"""Of the text in pictures."""
LINE = 14.5
"""From one label's line to the next."""
Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""


@dataclass(frozen=True)
class Axis:
    """From numbers between `low` and `high` to picture units between `start` and `end`."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        if self.log:
            part = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            part = (value - self.low) / (self.high - self.low)
        return self.start + part * (self.end - self.start)

    def ticks(self, wanted: int = 5) -> list[float]:
        """Round numbers on it."""
        if not self.log:
            return ticks(self.low, self.high, wanted)
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        powers = range(first, last + 1)
        decades = [10.0**p for p in powers if self.low <= 10.0**p <= self.high]
        if len(decades) >= 3:
            return decades[:: math.ceil(len(decades) / (wanted + 2))]
        fine = [m * 10.0**p for p in powers for m in (1, 2, 5) if self.low <= m * 10.0**p <= self.high]
        return fine if len(fine) >= 2 else [self.low, self.high]


def log_axis(values: Sequence[float], start: float, end: float, margin: float = 1.7) -> Axis:
    """A logarithmic axis around positive values."""
    return Axis(min(values) / margin, max(values) * margin, start, end, log=True)


def writer(values: Sequence[float]) -> Callable[[float], str]:
    """Writes ticks with as many digits as tell them apart."""
    steps = [b - a for a, b in itertools.pairwise(sorted(set(values)))]
    if not steps or min(steps) < 1e-7 * max(map(abs, values)):
        return lambda value: trimmed(f"{value:,.4g}")
    step = min(steps)
    digits = next((d for d in range(9) if all(abs(round(v, d) - v) < 0.01 * step for v in values)), None)
    if digits is None or max(map(abs, values)) >= 1e9:
        return lambda value: f"{value:.3g}".replace("-", "−")
    return lambda value: f"{value:,.{digits}f}".replace("-", "−")


def short(value: float) -> str:
    """A count for an axis: 20000 → 20k."""
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.4g}{letter}"
    return f"{value:.4g}"


def across(axis: Axis, left: float, right: float, name: str) -> list[Html]:
    """Grid lines and numbers of a vertical axis, its name above."""
    values = axis.ticks()
    write = writer(values)
    parts: list[Html] = []
    for value in values:
        y = axis.at(value)
        parts.append(shape("line", x1=left, x2=right, y1=f"{y:.1f}", y2=f"{y:.1f}", cls="grid"))
        parts.append(label(left - 6, y + 4, write(value), anchor="end"))
    if name:
        parts.append(label(2, SIZE, name))
    return parts


def under(axis: Axis, y: float, name: str, write: Callable[[float], str], right: float) -> list[Html]:
    """Numbers of a horizontal axis below `y`, none over another, and its name below them."""
    parts: list[Html] = []
    free = -math.inf
    for value in axis.ticks(6):
        words, x = write(value), axis.at(value)
        half = breadth(words) / 2
        if x - half < free or x + half > right:
            continue
        free = x + half + 8
        parts.append(shape("line", x1=f"{x:.1f}", x2=f"{x:.1f}", y1=y, y2=y + 4, cls="axis"))
        parts.append(label(x, y + 16, words, anchor="middle"))
    parts.append(label(axis.end, y + 32, name, anchor="end"))
    return parts


def breadth(words: str, size: float = SIZE) -> float:
    """About how wide a text is, on the wide side."""
    wide = sum(
        0.34
        if c in "iljtf.,:;|'! "
        else 1.05
        if c in "mwMW—" or ord(c) > 0x2E7F
        else 0.8
        if c.isupper() or c in "=+<>"
        else 0.63
        for c in words
    )
    return wide * size


def fit(words: str, room: float, size: float = SIZE) -> str:
    """A text that is no wider than `room`: what is too much goes from its middle, as names end in what differs."""
    if breadth(words, size) <= room:
        return words
    most = int(room / (0.34 * size))
    for kept in range(min(len(words) - 1, most), 2, -1):
        front = (kept + 1) // 2
        cut = words[:front].rstrip() + "…" + words[len(words) - (kept - front) :].lstrip()
        if breadth(cut, size) <= room:
            return cut
    return "…"


def apart(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Positions near the `wanted` ones, in their order, at least `gap` apart and within [low, high] if they fit."""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    placed: list[float] = []
    for i in order:
        placed.append(max(wanted[i], low, placed[-1] + gap if placed else low))
    limit = high
    for k in range(len(placed) - 1, -1, -1):
        placed[k] = min(placed[k], limit)
        limit = placed[k] - gap
    result = [0.0] * len(wanted)
    for k, i in enumerate(order):
        result[i] = placed[k]
    return result


def around(
    points: Sequence[tuple[float, float]], sizes: Sequence[tuple[float, float]], taken: Sequence[Box], frame: Box
) -> list[Box]:
    """A box of each size beside each point: within the frame, off what is taken and off each other, if possible."""
    boxes: list[Box | None] = [None] * len(points)
    crowd = sorted(range(len(points)), key=lambda i: -sum(math.dist(points[i], other) < 60 for other in points))
    for i in crowd:
        blocked = [*taken, *(box for box in boxes if box is not None)]
        boxes[i] = min(_beside(points[i], sizes[i]), key=lambda pair: pair[0] + _cost(pair[1], blocked, frame))[1]
    return [box for box in boxes if box is not None]


def _beside(point: tuple[float, float], size: tuple[float, float]) -> list[tuple[float, Box]]:
    """(how far-fetched, box), the near ones at the right first."""
    (x, y), (w, h) = point, size
    found: list[tuple[float, Box]] = []
    for far in (10.0, 14.0, 22.0, 36.0, 52.0, 70.0):
        spots = (
            (x + far, y - h / 2),
            (x - far - w, y - h / 2),
            (x - w / 2, y - far - h),
            (x - w / 2, y + far),
            (x + far * 0.6, y - far * 0.6 - h),
            (x + far * 0.6, y + far * 0.6),
            (x - far * 0.6 - w, y - far * 0.6 - h),
            (x - far * 0.6 - w, y + far * 0.6),
        )
        found += [(2 * far + k, (left, top, left + w, top + h)) for k, (left, top) in enumerate(spots)]
    return found


def _cost(box: Box, blocked: Sequence[Box], frame: Box) -> float:
    out = max(0.0, frame[0] - box[0]) + max(0.0, box[2] - frame[2])
    out += max(0.0, frame[1] - box[1]) + max(0.0, box[3] - frame[3])
    return 1000 * out + sum(200 + overlap for other in blocked if (overlap := _overlap(box, other)) > 0)


def _overlap(a: Box, b: Box) -> float:
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return w * h if w > 0 and h > 0 else 0.0


def in_two(title: str, desc: str, draw: Callable[[float], tuple[float, Sequence[Html]]], wide: float) -> Html:
    """A picture drawn for a wide and for a narrow screen, of which the page shows one."""
    made = []
    for width, cls in ((wide, "plot wide"), (340.0, "plot slim")):
        height, parts = draw(width)
        made.append(picture(width, height, title, desc, *parts, cls=cls))
    return join(made)


def figure(title: str, inner: Html) -> Html:
    """A picture under its title."""
    return el("figure", el("figcaption", el("b", title)), inner)
