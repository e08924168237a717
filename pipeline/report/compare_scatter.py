"""The picture that answers the question: what each method reaches for how many trained values."""

from __future__ import annotations

import math
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
from pipeline.report.compare_words import better, falls, fixed, in_line, places
from pipeline.report.markup import Html, el
from pipeline.report.svg import bounds, label, shape
from pipeline.report.values import count, number

HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 330.0, 48.0, 14.0, 26.0, 46.0
ZERO, STRIP = 40.0, 34.0
"""What the place of methods that train the head alone takes, which a logarithmic axis hasn't, and what
that of methods beyond the scale."""
REACH = 6.0
FAR = 3.0
"""How many times smaller the scale has to get for a method to be left off it."""
SPLITS = (("validation", "On validation rows, which chose"), ("test", "On test rows, which chose nothing"))


@dataclass(frozen=True)
class Spot:
    """A method in the picture."""

    entry: Entry
    values: int
    score: Numbers


@dataclass(frozen=True)
class Placed:
    """A method in picture units: its mark, the ends of its bar, its label."""

    spot: Spot
    x: float
    y: float
    bar: tuple[float, float]
    words: str
    off: int = 0
    """1 where it is above the scale, -1 below."""


def scatter(document: Comparison, listed: Sequence[Entry]) -> Html | None:
    """The score against trained values, one picture a split, all on the same scale."""
    splits = [(said, spots) for split, said in SPLITS if (spots := spots_of(document, listed, split))]
    if not splits:
        return None
    falling = falls(document, document["metric"])
    every = [spot for _, spots in splits for spot in spots]
    far = outliers(every, falling)
    scale = bounds([end for spot in every if spot.entry.result["method"] not in far for end in ends(spot.score)])
    made = [panel(document, said, spots, scale, 460 if len(splits) == 2 else 640) for said, spots in splits]
    titles = [entry.title for entry in listed if entry.result["method"] in far]
    seeds = len(document["seeds"])
    bars = f"Bars: ± one standard deviation over {seeds} seeds. " if seeds > 1 else "One seed: no spread is known. "
    note = (
        f"Across: trained values besides the head, on a logarithmic scale. {bars}"
        f"{better(document, document['metric']).capitalize()}. Ringed: recommended."
    )
    if titles:
        note += f" Off the scale, beyond the dashed line, with an arrow and the mean: {', '.join(titles)}."
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


def outliers(spots: Sequence[Spot], falling: bool) -> set[str]:
    """At most two methods so far behind that with them the rest would lie on one line."""
    sign = 1 if falling else -1
    worst: dict[str, float] = {}
    for spot in spots:
        key = spot.entry.result["method"]
        worst[key] = max(worst.get(key, -math.inf), sign * spot.score["mean"])
    behind = sorted(worst, key=lambda key: -worst[key])
    for out in (1, 2):
        left = [spot for spot in spots if spot.entry.result["method"] not in behind[:out]]
        if len(behind) - out >= 3 and FAR * reach(left) < reach(spots):
            return set(behind[:out])
    return set()


def reach(spots: Sequence[Spot]) -> float:
    """From the lowest end of a bar to the highest."""
    found = [end for spot in spots for end in ends(spot.score)]
    return max(found) - min(found)


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
        up, cuts = vertical(scale, [spot.score["mean"] for spot in spots], width)
        parts = [*across(up, LEFT, width - RIGHT, names.title(metric)), *cuts]
        xs, axis_parts = horizontal(spots, width)
        placed = [put(spot, x, up, after) for x, spot in zip(xs, spots, strict=True)]
        parts += axis_parts
        for each in placed:
            parts += drawn(each)
        return HEIGHT, [*parts, *labels(placed, width)]

    return figure(said, in_two(f"{names.title(metric)} against trained values. {said}", told, draw, wide))


def vertical(scale: tuple[float, float], means: Sequence[float], width: float) -> tuple[Axis, list[Html]]:
    """The axis of the score, with a strip cut off for methods that are beyond it."""
    bottom, top = HEIGHT - BOTTOM, TOP
    cuts: list[float] = []
    if min(means) < scale[0]:
        bottom -= STRIP
        cuts.append(bottom)
    if max(means) > scale[1]:
        top += STRIP
        cuts.append(top)
    lines = [shape("line", x1=LEFT, x2=width - RIGHT, y1=y, y2=y, cls="cut") for y in cuts]
    return Axis(*scale, bottom, top), lines


def horizontal(spots: Sequence[Spot], width: float) -> tuple[list[float], list[Html]]:
    """Where each method stands, those with the same values side by side, and the axis."""
    base, right = HEIGHT - BOTTOM, width - RIGHT
    some = [float(spot.values) for spot in spots if spot.values > 0]
    left = LEFT + (ZERO if len(some) < len(spots) else 0.0)
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


def put(spot: Spot, x: float, up: Axis, after: int) -> Placed:
    """A method where it belongs, or at the edge of the scale that it is beyond."""
    mean, (low, high) = spot.score["mean"], ends(spot.score)
    if up.low <= mean <= up.high:
        return Placed(spot, x, up.at(mean), (up.at(low), up.at(high)), spot.entry.title)
    words = f"{fit(spot.entry.title, 100)} {fixed(mean, after)}"
    y = up.start + 15 if mean < up.low else up.end - 13
    return Placed(spot, x, y, (y, y), words, -1 if mean < up.low else 1)


def drawn(each: Placed) -> list[Html]:
    """A method's mark with its bar, or with an arrow where it is off the scale."""
    x, y, look = each.x, each.y, each.spot.entry.look
    parts: list[Html] = []
    if abs(each.bar[0] - each.bar[1]) > 0.5:
        tips = [f"M{x - 4:.1f} {end:.1f}h8" for end in each.bar]
        d = f"M{x:.1f} {each.bar[0]:.1f}V{each.bar[1]:.1f}{''.join(tips)}"
        parts.append(shape("path", d=d, cls=f"whisker {look.cls}"))
    if each.off:
        way = -each.off
        d = f"M{x:.1f} {y + 7 * way:.1f}v{7 * way}m-3.5 {-3.5 * way}l3.5 {3.5 * way}l3.5 {-3.5 * way}"
        parts.append(shape("path", d=d, cls="ring"))
    if each.spot.entry.chosen:
        parts.append(shape("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=9.5, cls="ring"))
    return [*parts, marker(look, x, y, 5.5)]


def labels(placed: Sequence[Placed], width: float) -> list[Html]:
    """The methods' names beside their marks, with a line where they had to move away."""
    written = [fit(each.words, 150) for each in placed]
    sizes = [
        (breadth(words) * (1.06 if each.spot.entry.chosen else 1), LINE)
        for words, each in zip(written, placed, strict=True)
    ]
    taken: list[Box] = []
    for each in placed:
        r = 12.0 if each.spot.entry.chosen else REACH
        low, high = (each.y + 16, each.y - 16) if each.off else each.bar
        taken += [(each.x - r, each.y - r, each.x + r, each.y + r), (each.x - 4, high - 1, each.x + 4, low + 1)]
    frame = (LEFT + 2, TOP - 8, width, HEIGHT - BOTTOM - 2)
    boxes = around([(each.x, each.y) for each in placed], sizes, taken, frame)
    parts: list[Html] = []
    for each, words, box in zip(placed, written, boxes, strict=True):
        near = min(max(each.x, box[0]), box[2]), min(max(each.y, box[1] + 3), box[3] - 3)
        if math.dist(near, (each.x, each.y)) > 18:
            d = f"M{each.x:.1f} {each.y:.1f}L{near[0]:.1f} {near[1]:.1f}"
            parts.append(shape("path", d=d, cls=f"lead-line {each.spot.entry.look.cls}"))
        parts.append(label(box[0], box[3] - 3.6, words, cls=f"name halo{' bold' if each.spot.entry.chosen else ''}"))
    return parts
