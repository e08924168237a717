"""The picture that answers the question: what each method reaches for how many trained values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.compare.result import Comparison, Numbers
from pipeline.report import names
from pipeline.report.compare_axes import (
    LINE,
    Axis,
    Box,
    across,
    around,
    breadth,
    figure,
    fit,
    in_two,
    log_axis,
    short,
    under,
)
from pipeline.report.compare_look import Entry, marker
from pipeline.report.compare_words import better, in_line, places
from pipeline.report.markup import Html, el
from pipeline.report.svg import bounds, label, shape
from pipeline.report.values import count, number

HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 330.0, 48.0, 14.0, 26.0, 46.0
ZERO, NO_ZERO = 40.0, 0.0
"""What the place of methods that train the head alone takes, which a logarithmic axis hasn't."""
REACH = 6.0
SPLITS = (("validation", "On validation rows, which chose"), ("test", "On test rows, which chose nothing"))


@dataclass(frozen=True)
class Spot:
    """A method in the picture."""

    entry: Entry
    values: int
    score: Numbers


def scatter(document: Comparison, listed: Sequence[Entry]) -> Html | None:
    """The score against trained values, one picture a split, all on the same scale."""
    splits = [(said, spots) for split, said in SPLITS if (spots := spots_of(document, listed, split))]
    if not splits:
        return None
    scale = bounds([end for _, spots in splits for spot in spots for end in ends(spot.score)])
    made = [panel(document, said, spots, scale, 460 if len(splits) == 2 else 640) for said, spots in splits]
    seeds = len(document["seeds"])
    bars = f"Bars: ± one standard deviation over {seeds} seeds. " if seeds > 1 else "One seed: no spread is known. "
    note = (
        f"Across: trained values besides the head, on a logarithmic scale. {bars}"
        f"{better(document, document['metric']).capitalize()}. Ringed: recommended."
    )
    return el("div", el("div", *made, cls="pair" if len(made) == 2 else "lone"), el("p", note, cls="small"))


def spots_of(document: Comparison, listed: Sequence[Entry], split: str) -> list[Spot]:
    """The methods that were measured on a split."""
    found = []
    for entry in listed:
        measured = entry.result["validation"] if split == "validation" else entry.result["test"]
        score = (measured or {}).get(document["metric"])
        if entry.result["trained"] and score is not None and number(score["mean"]) is not None:
            found.append(Spot(entry, entry.result["trained"]["adapter"], score))
    return found


def ends(score: Numbers) -> tuple[float, float]:
    """Where its bar ends."""
    spread = number(score["spread"]) or 0.0
    return score["mean"] - spread, score["mean"] + spread


def panel(document: Comparison, said: str, spots: Sequence[Spot], scale: tuple[float, float], wide: float) -> Html:
    """One split's picture."""
    metric = document["metric"]
    after = places(document, metric)
    told = "; ".join(
        f"{spot.entry.title}: {count(spot.values)} trained values, {in_line(spot.score, after)}" for spot in spots
    )

    def draw(width: float) -> tuple[float, list[Html]]:
        up = Axis(*scale, HEIGHT - BOTTOM, TOP)
        parts = across(up, LEFT, width - RIGHT, names.title(metric))
        xs, axis_parts = horizontal(spots, width)
        parts += axis_parts
        points = [(x, up.at(spot.score["mean"])) for x, spot in zip(xs, spots, strict=True)]
        for (x, y), spot in zip(points, spots, strict=True):
            parts += drawn(x, y, spot, [up.at(end) for end in ends(spot.score)])
        return HEIGHT, [*parts, *labels(points, spots, up, width)]

    return figure(said, None, in_two(f"{names.title(metric)} against trained values. {said}", told, draw, wide))


def horizontal(spots: Sequence[Spot], width: float) -> tuple[list[float], list[Html]]:
    """Where each method stands, those with the same values side by side, and the axis."""
    base, right = HEIGHT - BOTTOM, width - RIGHT
    some = [float(spot.values) for spot in spots if spot.values > 0]
    left = LEFT + (ZERO if len(some) < len(spots) else NO_ZERO)
    parts: list[Html] = []
    if left > LEFT:
        x = LEFT + ZERO / 2
        parts += [shape("line", x1=f"{x:.1f}", x2=f"{x:.1f}", y1=base, y2=base + 4, cls="axis")]
        parts += [label(x, base + 16, "0", anchor="middle")]
        parts += [shape("line", x1=LEFT, x2=left - 6, y1=base, y2=base, cls="axis")]
    axis = log_axis(some, left, right, 1.9) if some else None
    if axis is None:
        parts.append(label(right, base + 32, "trained values", anchor="end"))
    else:
        parts.append(shape("line", x1=f"{left:.1f}", x2=right, y1=base, y2=base, cls="axis"))
        parts += under(axis, base, "trained values besides the head", short, width)
    xs = [axis.at(spot.values) if axis and spot.values > 0 else LEFT + ZERO / 2 for spot in spots]
    return beside(xs, LEFT + REACH, right - REACH), parts


def beside(xs: Sequence[float], low: float, high: float) -> list[float]:
    """Those that fall on one another, side by side."""
    result = list(xs)
    order = sorted(range(len(xs)), key=lambda i: xs[i])
    start = 0
    for k in range(1, len(order) + 1):
        if k < len(order) and xs[order[k]] - xs[order[k - 1]] < 5:
            continue
        group = order[start:k]
        middle = sum(xs[i] for i in group) / len(group)
        step = min(13.0, (high - low) / len(group))
        first = min(max(middle - step * (len(group) - 1) / 2, low), high - step * (len(group) - 1))
        if len(group) > 1:
            for place, i in enumerate(sorted(group)):
                result[i] = first + place * step
        start = k
    return result


def drawn(x: float, y: float, spot: Spot, bar: Sequence[float]) -> list[Html]:
    """A method's mark with its bar."""
    parts: list[Html] = []
    cls = f"whisker {spot.entry.look.cls}"
    if abs(bar[0] - bar[1]) > 0.5:
        parts.append(shape("line", x1=f"{x:.1f}", x2=f"{x:.1f}", y1=f"{bar[0]:.1f}", y2=f"{bar[1]:.1f}", cls=cls))
        for end in bar:
            parts.append(shape("line", x1=f"{x - 4:.1f}", x2=f"{x + 4:.1f}", y1=f"{end:.1f}", y2=f"{end:.1f}", cls=cls))
    if spot.entry.chosen:
        parts.append(shape("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=9.5, cls="ring"))
    return [*parts, marker(spot.entry.look, x, y, 5.5)]


def labels(points: Sequence[tuple[float, float]], spots: Sequence[Spot], up: Axis, width: float) -> list[Html]:
    """The methods' names beside their marks, with a line where they had to move away."""
    written = [fit(spot.entry.title, 150) for spot in spots]
    sizes = [
        (breadth(words) * (1.06 if spot.entry.chosen else 1), LINE) for words, spot in zip(written, spots, strict=True)
    ]
    taken: list[Box] = []
    for (x, y), spot in zip(points, spots, strict=True):
        low, high = (up.at(end) for end in ends(spot.score))
        reach = 10.0 if spot.entry.chosen else REACH
        taken += [(x - reach, y - reach, x + reach, y + reach), (x - 4, high - 1, x + 4, low + 1)]
    boxes = around(points, sizes, taken, (LEFT + 2, TOP - 8, width, HEIGHT - BOTTOM - 2))
    parts: list[Html] = []
    for (x, y), spot, words, box in zip(points, spots, written, boxes, strict=True):
        near = min(max(x, box[0]), box[2]), min(max(y, box[1] + 3), box[3] - 3)
        if (near[0] - x) ** 2 + (near[1] - y) ** 2 > 18**2:
            d = f"M{x:.1f} {y:.1f}L{near[0]:.1f} {near[1]:.1f}"
            parts.append(shape("path", d=d, cls=f"lead-line {spot.entry.look.cls}"))
        parts.append(label(box[0], box[3] - 3.6, words, cls="name bold" if spot.entry.chosen else "name"))
    return parts
