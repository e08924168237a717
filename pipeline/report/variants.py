"""The variants of the bundle, side by side: size, quality, parity and speed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pipeline.report import names
from pipeline.report.headline import conditions
from pipeline.report.markup import Html, el, isolate, join, scroller
from pipeline.report.pareto import pareto
from pipeline.report.values import (
    MISSING,
    NBSP,
    at,
    count,
    items,
    mapping,
    mappings,
    milliseconds,
    number,
    points,
    significant,
    size,
    words,
)

Variant = Mapping[str, Any]
Cell = Callable[[Variant], Html | str]


def variants(report: Mapping[str, Any]) -> Html | None:
    """A column a variant, a row a measure; rows that nobody measured are left out."""
    columns = mappings(report.get("variants"))
    if not columns:
        return None
    rows = [(name, [cell(column) for column in columns]) for name, cell in measures(columns)]
    shown = [(name, cells) for name, cells in rows if any(cell not in (MISSING, "") for cell in cells)]
    head = [el("th", heading(column), scope="col") for column in columns]
    body = [
        el("tr", el("th", name, scope="row"), *(el("td", cell or MISSING) for cell in cells)) for name, cells in shown
    ]
    caption = "Measured on this machine" if any(mapping(c.get("latency")) for c in columns) else "Variants"
    inner = el(
        "table",
        el("caption", caption),
        el("thead", el("tr", el("td"), *head)),
        el("tbody", *body),
        cls="variants",
    )
    return el("div", scroller(caption, inner), kept(columns), pareto(report))


def heading(variant: Variant) -> Html:
    """A variant's name, marked if a device takes it."""
    mark = el("span", "default", cls="badge") if variant.get("default") is True else None
    return join([isolate(words(variant.get("name")) or "unnamed"), mark], " ")


def measures(columns: list[Variant]) -> list[tuple[str, Cell]]:
    """The rows of the table, by name."""
    rows: list[tuple[str, Cell]] = [
        ("Precision", lambda v: words(v.get("precision"))),
        ("Size", lambda v: size(v.get("bytes"))),
    ]
    for split in ("test", "validation"):
        key = names.leading(*(at(v, "metrics", split) for v in columns))
        if key:
            rows.append((f"{split.capitalize()} {names.within(key)}", quality(columns, split, key)))
    return [
        *rows,
        ("Parity, largest difference", parity),
        ("Latency, median", lambda v: milliseconds(at(v, "latency", "p50_ms"))),
        ("Latency, 99th percentile", lambda v: milliseconds(at(v, "latency", "p99_ms"))),
        ("Throughput", throughput),
        ("Measured with", lambda v: conditions(mapping(v.get("latency")))),
        ("Layers kept in fp32", lambda v: count(len(items(v.get("kept_fp32")))) if "kept_fp32" in v else MISSING),
    ]


def quality(columns: list[Variant], split: str, key: str) -> Cell:
    """A metric of a split, with its distance from the unquantized variant."""
    reference = next((v for v in columns if v.get("precision") == "fp32"), {})
    base = number(at(reference, "metrics", split, key))

    def cell(variant: Variant) -> Html | str:
        value = number(at(variant, "metrics", split, key))
        shown = names.write(key, value)
        if variant is reference or value is None or base is None:
            return shown
        gap = points(value - base) if key == "accuracy" else significant(value - base)
        return join([shown, el("small", f"{gap} to {words(reference.get('name'))}")])

    return cell


def parity(variant: Variant) -> Html | str:
    """The largest absolute difference from the model it was made from, and over how many shapes."""
    largest = at(variant, "parity", "max_abs")
    if number(largest) is None:
        return MISSING
    shapes = at(variant, "parity", "shapes")
    tried = number(shapes) or len(items(shapes))
    return join([significant(largest), el("small", f"over {count(tried)} shapes") if tried else None])


def throughput(variant: Variant) -> Html | str:
    """Rows a second, and at which batch."""
    rate = at(variant, "latency", "throughput")
    if number(rate) is None:
        return MISSING
    batch = at(variant, "latency", "throughput_batch")
    return join([f"{significant(rate)}{NBSP}rows/s", el("small", f"batch {count(batch)}") if number(batch) else None])


def kept(columns: list[Variant]) -> Html | None:
    """Which layers stayed in fp32 to hold the gate."""
    notes = []
    for variant in columns:
        layers = [words(layer) for layer in items(variant.get("kept_fp32"))]
        if layers:
            listed = join((el("code", isolate(layer)) for layer in layers), ", ")
            name = isolate(words(variant.get("name")))
            notes.append(el("p", name, " keeps in fp32, to hold its gate: ", listed, cls="small"))
    return el("div", *notes) if notes else None
