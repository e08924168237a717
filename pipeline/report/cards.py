"""Every layer in small: its singular values on a log scale, its moves below, folded by block."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from pipeline.report.layers import Layer
from pipeline.report.markup import Html, el, isolate
from pipeline.report.svg import label, legend, picture, polyline, shape
from pipeline.report.values import count, percent, plural, significant


def multiples(blocks: Mapping[str, Sequence[Layer]], most: float) -> Html:
    """Every layer's spectrum in small, folded by block, the first one open."""
    folded = [
        el(
            "details",
            el("summary", isolate(block), el("small", f" {plural(len(layers), 'layer')}{furthest(layers)}")),
            el("div", *(card(layer, most) for layer in layers), cls="cards"),
            open=not i,
        )
        for i, (block, layers) in enumerate(blocks.items())
    ]
    keys = legend([("one", "singular values, log scale"), ("two", "moved, |δ|"), ("out", "beyond r, frozen")])
    note = el("p", "Index of the singular value across; the moves share one scale on the whole page.", cls="small")
    return el("div", el("h3", "Spectrum of each layer"), keys, note, *folded, cls="spectra")


def furthest(layers: Sequence[Layer]) -> str:
    """The largest move in a block."""
    most = max((layer.most for layer in layers if layer.most is not None), default=None)
    return f", moved by up to {significant(most)}" if most is not None else ""


def card(layer: Layer, most: float) -> Html:
    """One layer: its curve, its moves, and what they come to."""
    rank = f"r = {count(layer.rank)} of {count(layer.full)}" if layer.rank else ""
    if rank and layer.scattered:
        rank += ", chosen anywhere"
    captured = f"{percent(layer.energy)} of the energy" if layer.energy is not None else ""
    effective = f"effective rank {significant(layer.effective)}" if layer.effective is not None else ""
    moves = f"δ {significant(layer.rms)} rms, {significant(layer.most)} max" if layer.rms is not None else ""
    lines = [line for line in (rank, captured, effective, moves) if line]
    small = [el("small", line) for line in lines]
    size = el("small", layer.size) if layer.size else None
    return el("div", el("h4", isolate(layer.short), size), curve(layer, most), *small, cls="card")


def curve(layer: Layer, most: float) -> Html | None:
    """Singular values on a log scale above, moves below, what lies beyond r shaded."""
    values = layer.spectrum
    positive = [v for v in values if v > 0]
    if not positive and not layer.moved:
        return None
    width, height, base, foot = 200.0, 92.0, 58.0, 90.0

    def across(i: float) -> float:
        return width * (i + 0.5) / layer.full

    parts: list[Html] = []
    if 0 < layer.rank < layer.full and not layer.scattered:
        x = width * layer.rank / layer.full
        parts.append(shape("rect", x=f"{x:.1f}", width=f"{width - x:.1f}", height=height, cls="out"))
    told = [f"{layer.name}."]
    if positive:
        high = math.log10(max(positive))
        low = max(math.log10(min(positive)), high - 6)
        span = (high - low) or 1.0
        line = [
            (across(i), 4 + (base - 8) * (high - max(low, math.log10(v))) / span)
            for i, v in zip(layer.index, values, strict=False)
            if v > 0
        ]
        parts += [
            polyline(line, "line one"),
            label(width - 2, 11, significant(max(positive)), anchor="end"),
            label(2, base - 3, significant(min(positive))),
        ]
        told.append(f"Singular values from {significant(max(positive))} to {significant(min(positive))}.")
    if layer.moved and most > 0:
        sticks = "".join(
            f"M{across(i):.1f} {foot:g}v-{(foot - base - 4) * min(1.0, abs(m) / most):.1f}"
            for i, m in zip(layer.index, layer.moved, strict=False)
        )
        parts.append(shape("path", d=sticks, cls="sticks two"))
        told.append(f"Largest move {significant(max(layer.moved))}.")
    parts.append(shape("line", x1=0, x2=width, y1=foot, y2=foot, cls="grid"))
    return picture(width, height, f"Spectrum of {layer.short}", " ".join(told), *parts, cls="plot spark")
