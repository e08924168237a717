"""The first screen: what was made, how good, how big, how fast, and whether the gates passed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.report import names
from pipeline.report.entities import is_tagger, kinds_of
from pipeline.report.markup import Html, el, isolate, join
from pipeline.report.values import (
    MISSING,
    at,
    count,
    items,
    mapping,
    mappings,
    milliseconds,
    moment,
    number,
    plural,
    ratio,
    size,
    words,
)

Report = Mapping[str, Any]


def header(report: Report) -> Html:
    """Name, one sentence, and the verdict of the gates."""
    made = moment(at(report, "created", "at"))
    with_ = words(at(report, "created", "svfit"))
    by = " ".join(part for part in ("svfit", with_) if part)
    eyebrow = el("p", join([f"{by} report", el("time", made) if made else None], " · "), cls="eyebrow")
    name = el("h1", isolate(words(report.get("name")) or "Untitled"))
    return el("header", eyebrow, name, el("p", *sentence(report), cls="lead"), verdict(report))


def sentence(report: Report) -> list[Html | str]:
    """What was made, from what."""
    labels = items(report.get("labels"))
    kinds = {
        "text-regression": "A text regression model",
        "text-classification": "A text classifier",
        "image-classification": "An image classifier",
    }
    what = kinds.get(words(report.get("task")), "A text classifier" if labels else "A model")
    if is_tagger(report):
        what = f"A tagger for {plural(len(kinds_of(report)), 'kind')} of entities"
    elif labels:
        what += f" with {plural(len(labels), 'class', 'classes')}"
    base = words(at(report, "base", "name"))
    values = number(at(report, "adapter", "values")) or number(at(report, "trainable", "adapter"))
    result: list[Html | str] = [what]
    if base:
        result += [", adapted from ", el("strong", isolate(base))]
    if values:
        scaled = words(at(report, "adapter", "core")) in ("", "diagonal")
        moved = plural(values, "singular value") if scaled else f"{plural(values, 'value')} between singular directions"
        result.append(f" by moving {moved}")
    rows = number(at(report, "data", "splits", "train", "rows"))
    return [*result, f", learned from {plural(rows, 'row')}." if rows else "."]


def verdict(report: Report) -> Html:
    """One line that says whether the gates passed."""
    gates = mappings(report.get("gates"))
    failed = [gate for gate in gates if gate.get("passed") is not True]
    if not gates:
        return el("p", "No gates were run", cls="verdict none")
    if failed:
        which = join((isolate(words(gate.get("name")) or "unnamed") for gate in failed), ", ")
        return el("p", f"✕ {len(failed)} of {plural(len(gates), 'gate')} failed: ", which, cls="verdict bad")
    return el(
        "p", "✓ " + ("The gate passed" if len(gates) == 1 else f"All {len(gates)} gates passed"), cls="verdict ok"
    )


def tile(name: str, value: str, *notes: Html | str | None) -> Html:
    """One number that matters, and what it must be read with."""
    said = [el("dd", note, cls="note") for note in notes if note]
    return el("div", el("dt", name), el("dd", value, cls="big"), *said, cls="tile")


def tiles(report: Report) -> Html:
    """The four numbers of the first screen."""
    default = default_variant(report)
    return el("dl", quality(report, default), weight(report, default), speed(default), cost(report), cls="tiles")


def default_variant(report: Report) -> Mapping[str, Any]:
    """The variant that a device takes; empty when there is none."""
    variants = mappings(report.get("variants"))
    chosen = next((variant for variant in variants if variant.get("default") is True), None)
    return chosen or (variants[0] if variants else {})


def quality(report: Report, default: Mapping[str, Any]) -> Html:
    """How good: the leading metric, and the same of what ships."""
    split, metrics = names.measured(report)
    key = names.leading(metrics)
    if key is None:
        return tile("Test result", MISSING, "not measured")
    others = ("macro_f1", "spearman", "entity_recall")
    second = next((k for k in others if k != key and number(metrics.get(k)) is not None), None)
    also = f"{names.title(second)} {names.write(second, metrics[second])}" if second else None
    shipped = at(default, "metrics", split, key)
    ships = None
    if number(shipped) is not None:
        ships = join([names.write(key, shipped), " in ", isolate(words(default.get("name"))), ", as shipped"])
    return tile(f"{split.capitalize()} {names.within(key)}", names.write(key, metrics[key]), also, ships)


def weight(report: Report, default: Mapping[str, Any]) -> Html:
    """How big the model file of the default variant is."""
    if not default:
        return tile("Size", MISSING, "nothing exported")
    largest = max(mappings(report.get("variants")), key=lambda v: number(v.get("bytes")) or 0)
    smaller = None
    if largest is not default and number(largest.get("bytes")) and number(default.get("bytes")):
        times = ratio(default["bytes"], largest["bytes"])
        smaller = join([f"{times} smaller than ", isolate(words(largest.get("name")))])
    return tile("Size", size(default.get("bytes")), isolate(words(default.get("name"))), smaller)


def speed(default: Mapping[str, Any]) -> Html:
    """How fast one request is, in the middle."""
    latency = mapping(default.get("latency"))
    p99 = f"99% within {milliseconds(latency['p99_ms'])}" if number(latency.get("p99_ms")) else None
    return tile("Median latency", milliseconds(latency.get("p50_ms")), conditions(latency) or "not measured", p99)


def conditions(latency: Mapping[str, Any]) -> str:
    """What a latency was measured on: batch, length, threads."""
    parts = [
        f"batch {count(latency['batch'])}" if number(latency.get("batch")) else "",
        plural(latency["tokens"], "token") if number(latency.get("tokens")) else "",
        plural(latency["threads"], "thread") if number(latency.get("threads")) else "",
    ]
    return ", ".join(part for part in parts if part)


def cost(report: Report) -> Html:
    """How little was trained, beside LoRA and full fine-tuning."""
    trainable = mapping(report.get("trainable"))
    adapter = trainable.get("adapter")
    others = [
        f"{ratio(adapter, trainable.get(key))} fewer than {name}"
        for key, name in (("lora_r8", "LoRA, r = 8"), ("full", "full fine-tuning"))
        if ratio(adapter, trainable.get(key)) != MISSING
    ]
    return tile("Adapter", count(adapter), "trained values" if number(adapter) else "nothing trained", *others)


def notice(report: Report) -> Html | None:
    """A line under the tiles when the data wants a second look."""
    warnings = items(at(report, "data", "warnings"))
    if not warnings:
        return None
    link = el("a", plural(len(warnings), "warning"), " about the data", href="#data")
    return el("p", "⚠ ", link, cls="notice")
