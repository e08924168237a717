"""Spectra on the page of `svfit inspect`: energy against a random matrix's, a table of layers, every curve in small."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pipeline.report.layers import Layer, read
from pipeline.report.markup import Html, el, isolate, join, table
from pipeline.report.svg import label, legend, picture, polyline, shape
from pipeline.report.values import (
    MISSING,
    at,
    count,
    mapping,
    mappings,
    number,
    numbers,
    percent,
    plural,
    significant,
    words,
)

Document = Mapping[str, Any]


def energies(document: Document) -> Html | None:
    """The rank for 90% of the energy, by kind of layer, beside that of a random matrix."""
    kinds: dict[str, list[Document]] = {}
    for layer in mappings(document.get("layers")):
        kinds.setdefault(words(layer.get("kind")), []).append(layer)
    if not kinds:
        return None
    rows = [
        [
            isolate(kind),
            count(len(layers)),
            span(layers, "rank_for", "0.9"),
            span(layers, "random", "rank_for", "0.9"),
            span(layers, "rank_for", "0.99"),
            span(layers, "effective_rank"),
            span(layers, "random", "effective_rank"),
            count(sum(layer.get("flat") is True for layer in layers)),
        ]
        for kind, layers in kinds.items()
    ]
    head = ["Kind", "Weights", "r for 90%", "Random", "r for 99%", "Effective rank", "Random", "Flat"]
    note = el(
        "p",
        "Energy is the sum of squared singular values. Random is a Gaussian matrix of the same shape, one without"
        " structure (Marchenko and Pastur); a spectrum is flat that needs nearly as many directions as it does.",
        cls="small",
    )
    return el("div", note, table("Directions that hold the energy, by kind", head, rows))


def span(layers: list[Document], *path: str) -> str:
    """The least and the most of a number."""
    found = [value for layer in layers if (value := number(at(layer, *path))) is not None]
    if not found:
        return MISSING
    low, high = round(min(found)), round(max(found))
    return f"{low:,}" if low == high else f"{low:,} – {high:,}"


def layer_table(document: Document) -> Html | None:
    """A row a weight."""
    layers = mappings(document.get("layers"))
    ranks = list(dict.fromkeys(rank for layer in layers for rank in mapping(layer.get("energy"))))
    rows = [
        [
            isolate(read(layer).name),
            read(layer).size,
            *(percent(at(layer, "energy", rank)) for rank in ranks),
            significant(layer.get("effective_rank")),
            join([count(at(layer, "rank_for", "0.9")), el("small", "flat") if layer.get("flat") is True else None]),
            count(at(layer, "rank_for", "0.99")),
            count(layer.get("rank")),
            percent(layer.get("captured")),
        ]
        for layer in layers
    ]
    head = ["Weight", "Shape", *(f"E({r})" for r in ranks), "Eff. rank", "r for 90%", "r for 99%", "Rank", "Keeps"]
    made = table("Energy in the top r, and what the chosen rank keeps", head, rows)
    return el("details", el("summary", f"All {plural(len(layers), 'weight')}"), made) if layers else None


def spectra(document: Document) -> Html | None:
    """Every spectrum in small beside a random matrix's, folded by block, the first one open."""
    blocks: dict[str, list[tuple[Layer, Document]]] = {}
    for raw in mappings(document.get("layers")):
        layer = read(raw)
        blocks.setdefault(layer.block, []).append((layer, raw))
    if not blocks:
        return None
    folded = [
        el(
            "details",
            el("summary", isolate(block), el("small", f" {plural(len(layers), 'weight')}")),
            el("div", *(card(layer, raw) for layer, raw in layers), cls="cards"),
            open=not i,
        )
        for i, (block, layers) in enumerate(blocks.items())
    ]
    keys = legend([("one", "singular values"), ("noise", "random, same energy"), ("out", "beyond r, frozen")])
    note = el("p", "Index of the singular value across, its size up, from 0.", cls="small")
    return el("div", keys, note, *folded, cls="spectra")


def card(layer: Layer, raw: Document) -> Html:
    """One weight: its curve, and what it comes to."""
    lines = [
        f"90% in {count(at(raw, 'rank_for', '0.9'))} of {count(layer.full)}",
        f"random: {count(at(raw, 'random', 'rank_for', '0.9'))}" + (" (flat)" if raw.get("flat") is True else ""),
        f"effective rank {significant(layer.effective)}" if layer.effective is not None else "",
        f"r = {count(layer.rank)} keeps {percent(raw.get('captured'))}" if 0 < layer.rank < layer.full else "",
    ]
    small = [el("small", line) for line in lines if line]
    size = el("small", layer.size) if layer.size else None
    noise = numbers(at(raw, "random", "spectrum"))
    return el("div", el("h4", isolate(layer.short), size), curve(layer, noise), *small, cls="card")


def curve(layer: Layer, noise: list[float]) -> Html | None:
    """Singular values and a random matrix's, on one scale from 0; what lies beyond r shaded."""
    most = max([*layer.spectrum, *noise], default=0.0)
    if not layer.spectrum or not most > 0 or not math.isfinite(most):
        return None
    width, height, foot = 200.0, 92.0, 90.0

    def line(values: list[float], cls: str) -> Html:
        placed = (
            (width * (i + 0.5) / layer.full, foot - (foot - 4) * value / most)
            for i, value in zip(layer.index, values, strict=False)
        )
        return polyline(placed, f"line {cls}")

    parts: list[Html] = []
    if 0 < layer.rank < layer.full:
        x = width * layer.rank / layer.full
        parts.append(shape("rect", x=f"{x:.1f}", width=f"{width - x:.1f}", height=height, cls="out"))
    parts.append(shape("line", x1=0, x2=width, y1=foot, y2=foot, cls="grid"))
    if noise:
        parts.append(line(noise, "noise"))
    parts += [
        line(layer.spectrum, "one"),
        label(width - 2, 11, f"max {significant(max(layer.spectrum))}", anchor="end"),
    ]
    ends = (
        f"{layer.name}. Singular values from {significant(max(layer.spectrum))} to {significant(min(layer.spectrum))}."
    )
    return picture(width, height, f"Spectrum of {layer.short}", ends, *parts, cls="plot spark")
