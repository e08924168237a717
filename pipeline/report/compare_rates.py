"""Which learning rates each method was tried at and what they reached: no rival was left untuned."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.compare.result import Comparison, MethodResult, TriedRate
from pipeline.report import names
from pipeline.report.compare_axes import Axis, breadth, log_axis, writer
from pipeline.report.compare_look import Entry, key, marker, named
from pipeline.report.compare_words import better, digits, fixed, rate, sentence
from pipeline.report.markup import Html, el, isolate, join, table
from pipeline.report.svg import bounds, label, picture, polyline, shape, ticks
from pipeline.report.values import number, plural

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BASE = 176.0, 134.0, 40.0, 12.0, 10.0, 104.0


def rates(document: Comparison, listed: Sequence[Entry]) -> Html | None:
    """A small picture a method, all on the same scale, and every rate as a table."""
    some = [entry for entry in listed if entry.result["rates"]]
    if not some:
        return None
    found = [score for entry in some for _, score in reached(entry.result)]
    scale = bounds(found) if found else (0.0, 1.0)
    after = digits(found)
    metric = document["metric"]
    note = (
        f"The rates of each method with the first seed, and the validation {names.within(metric)} of the best epoch"
        f" ({better(document, metric)}), on one scale for all. Ringed: chosen. ✕: failed. An arrow: the chosen rate is"
        " at the edge of those tried, so there may be more beyond it."
    )
    cards = [card(entry, metric, scale, after) for entry in some]
    listing = el("details", el("summary", "Every rate as a table"), listed_rates(some, metric, after))
    return el("div", el("p", note, cls="small"), el("div", *cards, cls="tries"), listing)


def reached(one: MethodResult) -> list[tuple[float, float]]:
    """(rate, score) of those that went through."""
    found = ((tried["rate"], number(tried["validation"])) for tried in one["rates"])
    return [(at, score) for at, score in found if score is not None]


def card(entry: Entry, metric: str, scale: tuple[float, float], after: int) -> Html:
    """A method's rates in a small picture, and what to say of them."""
    one = entry.result
    tried = one["rates"]
    failed = [each for each in tried if each["status"] == "failed"]
    best = next((each for each in tried if each["rate"] == one["rate"]), None)
    said: list[Html] = []
    if best is not None:
        said.append(el("small", f"best {rate(best['rate'])}: {fixed(best['validation'], after)}"))
    if one["at_edge"]:
        said.append(el("small", "best at the edge of the rates", cls="warn"))
    if failed:
        said.append(el("small", f"{len(failed)} of {plural(len(tried), 'rate')} failed", cls="bad"))
    heading = el("h4", key(entry.look), isolate(entry.title))
    return el("div", heading, small(entry, metric, scale, after), *said, cls="try")


def small(entry: Entry, metric: str, scale: tuple[float, float], after: int) -> Html:
    """Dots over a logarithmic axis of rates."""
    one = entry.result
    tried = one["rates"]
    up = Axis(*scale, BASE - 6, TOP)
    along = log_axis([each["rate"] for each in tried], LEFT, WIDTH - RIGHT, 1.6)
    parts: list[Html] = []
    values = ticks(*scale, 3)
    write = writer(values)
    for value in values:
        y = up.at(value)
        parts.append(shape("line", x1=LEFT, x2=WIDTH, y1=f"{y:.1f}", y2=f"{y:.1f}", cls="grid"))
        parts.append(label(LEFT - 5, y + 4, write(value), anchor="end"))
    parts.append(shape("line", x1=LEFT, x2=WIDTH, y1=BASE, y2=BASE, cls="axis"))
    parts += numbers(tried, one["rate"], along)
    dots = [(along.at(at), up.at(score)) for at, score in reached(one)]
    if len(dots) > 1:
        parts.append(polyline(dots, f"lead-line {entry.look.cls}"))
    for each in tried:
        parts += mark(entry, each, along, up)
    told = "; ".join(f"{rate(each['rate'])}: {outcome(each, after)}" for each in tried)
    title = f"{entry.title}: validation {names.within(metric)} by learning rate"
    return picture(WIDTH, HEIGHT, title, told, *parts)


def numbers(tried: Sequence[TriedRate], chosen: float | None, along: Axis) -> list[Html]:
    """The rates below the axis, the chosen one first, as many as have room."""
    order = sorted(tried, key=lambda each: each["rate"] != chosen)
    parts: list[Html] = []
    taken: list[tuple[float, float]] = []
    for each in [*order[:1], *(each for each in (tried[0], tried[-1], *order[1:]) if each is not order[0])]:
        words = rate(each["rate"])
        half = breadth(words) / 2
        x = min(max(along.at(each["rate"]), half), WIDTH - half)
        if any(x - half < right + 3 and left - 3 < x + half for left, right in taken):
            continue
        taken.append((x - half, x + half))
        parts.append(label(x, BASE + 17, words, cls="bold" if each["rate"] == chosen else "tick", anchor="middle"))
    return parts


def mark(entry: Entry, each: TriedRate, along: Axis, up: Axis) -> list[Html]:
    """One rate: its dot, or a cross on the axis where it failed; a ring and an arrow where that is to be said."""
    x = along.at(each["rate"])
    score = number(each["validation"])
    if score is None:
        return [shape("path", d=f"M{x - 4:.1f} {BASE - 8}l8 8m0 -8l-8 8", cls="cross")]
    y = up.at(score)
    parts = [marker(entry.look, x, y, 4)]
    if each["rate"] != entry.result["rate"]:
        return parts
    parts.insert(0, shape("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=7.5, cls="ring"))
    if entry.result["at_edge"]:
        way = 1 if each is entry.result["rates"][-1] else -1
        parts.append(
            shape(
                "path",
                d=f"M{x + 10 * way:.1f} {y:.1f}h{9 * way}m{-4 * way} -3.5l{4 * way} 3.5l{-4 * way} 3.5",
                cls="ring",
            )
        )
    return parts


def outcome(each: TriedRate, after: int) -> str:
    """What became of a rate."""
    return fixed(each["validation"], after) if each["status"] == "done" else f"failed ({each['reason']})"


def listed_rates(listed: Sequence[Entry], metric: str, after: int) -> Html:
    """A row a rate."""
    rows = [
        [named(entry), rate(each["rate"]), fixed(each["validation"], after), remark(entry.result, each)]
        for entry in listed
        for each in entry.result["rates"]
    ]
    head = ["Method", "Rate", f"Validation {names.within(metric)}", "Remark"]
    return table("Every learning rate, first seed", head, rows, cls="compact", texts=(0, 3))


def remark(one: MethodResult, each: TriedRate) -> Html:
    """Chosen, at the edge, or why it failed."""
    if each["status"] == "failed":
        return el("span", "failed: ", sentence(each["reason"] or "for no known reason"))
    if each["rate"] != one["rate"]:
        return Html("")
    return join(["chosen", ", at the edge of those tried" if one["at_edge"] else None])
