"""What was learned: the adapter in numbers, where it moved singular values, and which moved most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.report import names
from pipeline.report.cards import multiples
from pipeline.report.layers import SAMPLES, Layer, read, spans
from pipeline.report.markup import Html, el, facts, isolate, table
from pipeline.report.svg import cells, level, scale, shape
from pipeline.report.values import at, count, items, mapping, mappings, number, percent, plural, significant, words

TOP = 12


def spectrum(report: Mapping[str, Any]) -> Html | None:
    """Summary, map of movement, directions that moved most, and every layer's spectrum folded by block."""
    layers = [read(raw) for raw in mappings(at(report, "adapter", "layers"))]
    summary = about(mapping(report.get("adapter")), layers)
    if not layers:
        return summary
    blocks: dict[str, list[Layer]] = {}
    for layer in layers:
        blocks.setdefault(layer.block, []).append(layer)
    most = max((max(layer.moved, default=0.0) for layer in layers), default=0.0)
    return el("div", summary, heat(blocks, most), directions(layers), multiples(blocks, most))


def about(adapter: Mapping[str, Any], layers: Sequence[Layer]) -> Html | None:
    """The adapter in a few numbers."""
    shares = [layer.energy for layer in layers if layer.energy is not None]
    strongest = max((layer for layer in layers if layer.rms is not None), key=lambda x: x.rms or 0.0, default=None)
    moved = [isolate(strongest.name), f", {significant(strongest.rms)} rms"] if strongest else []
    captured = ""
    if shares:
        low, mean = min(shares), sum(shares) / len(shares)
        captured = f"{percent(mean)} on average" + (f", {percent(low)} at least" if low < mean - 5e-4 else "")
    return facts(
        [
            ("Core", words(adapter.get("core"))),
            ("Rank", rank_text(adapter.get("rank"))),
            ("Spread", spread(mapping(adapter.get("chosen")))),
            ("Kept", kept(mapping(adapter.get("dropped")))),
            ("Values", count(adapter["values"]) if number(adapter.get("values")) else ""),
            ("Layers", count(len(layers)) if layers else ""),
            ("Energy captured", captured),
            ("Moved most", el("span", *moved) if moved else None),
        ]
    )


def heat(blocks: Mapping[str, Sequence[Layer]], most: float) -> Html | None:
    """One strip a layer, large singular values left: where the adapter moved them."""
    if most <= 0:
        return None
    moves = sorted(move for layers in blocks.values() for layer in layers for move in layer.moved)
    top = moves[int(0.99 * (len(moves) - 1))] or most
    rows = [row for block, layers in blocks.items() if (row := strip(block, layers, top)) is not None]
    orders = {tuple(layer.short for layer in layers) for layers in blocks.values()}
    order = ""
    if len(orders) == 1 and len(next(iter(orders))) > 1:
        order = f" From the top in each block: {', '.join(next(iter(orders)))}."
    note = f"Each strip is a layer, its largest singular value at the left, its smallest at the right.{order}"
    heading = el(
        "figcaption",
        el("b", "How far each value moved"),
        scale("0", f"|δ| ≥ {significant(top)}" if top < most else f"|δ| = {significant(top)}"),
    )
    return el("figure", heading, el("div", *rows, cls="heat"), el("p", note, cls="small"), cls="wide")


def strip(block: str, layers: Sequence[Layer], top: float) -> Html | None:
    """The strips of one block under each other."""
    drawn = [layer for layer in layers if layer.moved]
    if not drawn:
        return None
    parts: list[Html] = []
    for row, layer in enumerate(drawn):
        boxes = ((level(value, top), left, row, right - left, 0.84) for left, right, value in spans(layer))
        told = f"{layer.name}: {significant(layer.rms)} rms, {significant(layer.most)} at most"
        frame = shape("rect", y=row, width=SAMPLES, height=0.84, cls="frame")
        parts.append(el("g", el("title", told), frame, cells(boxes)))
    desc = "; ".join(f"{layer.short} {significant(layer.rms)}" for layer in drawn)
    inner = (el("title", f"Movement in {block}"), el("desc", f"Root mean square of the moves: {desc}."), *parts)
    box = {"viewBox": f"0 0 {SAMPLES} {len(drawn)}", "preserveAspectRatio": "none", "role": "img"}
    drawing = el("svg", *inner, cls=f"strip rows{min(12, len(drawn))}", **box)
    return el("div", el("span", isolate(block), cls="block"), drawing, cls="row")


def directions(layers: Sequence[Layer]) -> Html | None:
    """The singular values that moved most in the whole model."""
    found = []
    for layer in layers:
        for row in layer.top:
            was, became = number(row.get("was")), number(row.get("became"))
            if was is not None and became is not None:
                found.append((abs(became - was), layer.name, row.get("index"), was, became))
    if not found:
        return None
    found.sort(key=lambda row: -row[0])
    rows = (
        [isolate(name), count(i), significant(was), significant(became), significant(became - was)]
        for _, name, i, was, became in found[:TOP]
    )
    caption = "Singular values that moved most"
    return table(caption, ["Layer", "Index", "Was", "Became", "δ"], rows, texts=(0,))


def spread(chosen: Mapping[str, Any]) -> str:
    """How a budget was spread: over how many layers, in what ranks, and by what."""
    layers, of, least, most = (number(chosen.get(key)) for key in ("layers", "of", "least", "most"))
    if layers is None or of is None or least is None or most is None:
        return ""
    over = plural(layers, "layer") if layers == of else f"{count(layers)} of {plural(of, 'layer')}"
    ranks = count(least) if least == most else f"{count(least)} … {count(most)}"
    by = words(chosen.get("by"))
    return f"{over}, {ranks} directions a layer" + (f", {by}" if by else "")


def kept(dropped: Mapping[str, Any]) -> str:
    """How many directions are left of those that were trained, and what each metric was before and is now."""
    left, of = number(dropped.get("kept")), number(dropped.get("directions"))
    if left is None or of is None:
        return ""
    before, after = mapping(dropped.get("before")), mapping(dropped.get("after"))
    cost = [
        f"{names.within(key)} {names.write(key, was)} → {names.write(key, now)}"
        for key, value in before.items()
        if key != "loss" and (was := number(value)) is not None and (now := number(after.get(key))) is not None
    ]
    return f"{count(left)} of {plural(of, 'direction')}" + (f": {', '.join(cost)}" if cost else "")


def rank_text(value: Any) -> str:
    """A rank setting as it was configured: a number, a share, `full`, or one entry a pattern."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {words(each)}" for key, each in value.items())
    return words(value) or ", ".join(words(each) for each in items(value))
