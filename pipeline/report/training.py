"""How training went: curves, time, memory, and what was trained beside the alternatives."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pipeline.report import names
from pipeline.report.markup import Html, el, facts
from pipeline.report.svg import Point, Series, label, line_chart, picture, shape, smooth
from pipeline.report.values import (
    count,
    duration,
    mapping,
    mappings,
    number,
    significant,
    size,
    words,
)

Report = Mapping[str, Any]


def training(report: Report) -> Html | None:
    """Curves and costs of the training, or nothing if none was recorded."""
    record = mapping(report.get("training"))
    charts = [chart for chart in (loss(record), validation(record), rate(record)) if chart is not None]
    costs = facts(
        [
            ("Time", timed(record.get("seconds"))),
            ("Steps", stepped(record)),
            ("Best epoch", best(record)),
            ("Peak memory", given(record, "peak_memory_bytes", size)),
            ("Device", ", ".join(w for w in (words(record.get("device")), words(record.get("precision"))) if w)),
            ("Basis (SVD)", basis(mapping(record.get("basis")))),
        ]
    )
    if not charts and costs is None:
        return None
    return el("div", *charts, costs, cls="charts")


def given(record: Mapping[str, Any], key: str, write: Any) -> str:
    """A number written for people, or nothing."""
    return str(write(record[key])) if number(record.get(key)) is not None else ""


def timed(value: Any) -> str:
    """A duration, or nothing."""
    return duration(value) if number(value) is not None else ""


def stepped(record: Mapping[str, Any]) -> str:
    """Steps and what one took."""
    each = record.get("seconds_per_step")
    one = f"{significant(each)} s each" if number(each) is not None else ""
    return ", ".join(part for part in (given(record, "steps", count), one) if part)


def best(record: Mapping[str, Any]) -> str:
    """The epoch whose weights were kept."""
    found = mapping(record.get("best"))
    epoch, metric, value = found.get("epoch"), words(found.get("metric")), found.get("value")
    if number(epoch) is None:
        return ""
    shown = f" ({names.within(bare(metric))} {names.write(bare(metric), value)})" if metric else ""
    return f"{significant(epoch)}{shown}"


def bare(metric: str) -> str:
    """A metric without the prefix that trainers put before it."""
    return metric.removeprefix("eval_").removeprefix("validation_")


def basis(record: Mapping[str, Any]) -> str:
    """What the decomposition cost, or that it was found again."""
    took = timed(record.get("seconds"))
    if record.get("cached") is True:
        return "found in the cache" + (f" in {took}" if took else "")
    return took


def series_of(rows: list[Mapping[str, Any]], x: str, y: str) -> list[Point]:
    """The (x, y) pairs of the rows that have both."""
    pairs = ((number(row.get(x)), number(row.get(y))) for row in rows)
    return sorted((a, b) for a, b in pairs if a is not None and b is not None)


def loss(record: Mapping[str, Any]) -> Html | None:
    """Loss by step, with its running mean where it is noisy."""
    raw = series_of(mappings(record.get("curve")), "step", "loss")
    held_out = series_of(mappings(record.get("validation")), "step", "loss")
    many = len(raw) > 24
    lines = [Series("each step", raw, "faint" if many else "one", dots=len(raw) < 12)]
    if many:
        lines.append(Series("running mean", smooth(raw, max(2, len(raw) // 40)), "one"))
    lines.append(Series("validation", held_out, "two", dots=True))
    if not raw and not held_out:
        return None
    ends = (raw or held_out)[0][1], (raw or held_out)[-1][1]
    desc = f"Loss from {significant(ends[0])} to {significant(ends[1])}."
    return line_chart("Loss", desc, lines, "step", significant)


def validation(record: Mapping[str, Any]) -> Html | None:
    """The leading validation metrics by epoch."""
    rows = mappings(record.get("validation"))
    key = names.leading(*rows)
    if key is None:
        return None
    second = next((k for k in ("macro_f1", "spearman") if k != key and any(number(r.get(k)) for r in rows)), None)
    lines = [Series(names.title(key), series_of(rows, "epoch", key), "one", dots=True)]
    if second:
        lines.append(Series(names.title(second), series_of(rows, "epoch", second), "two", dots=True))
    told = "; ".join(f"epoch {significant(x)}: {names.write(key, y)}" for x, y in lines[0].points)

    def write(value: float) -> str:
        return names.write(key, value)

    return line_chart(f"Validation {names.within(key)}", told, lines, "epoch", write, whole_x=True)


def rate(record: Mapping[str, Any]) -> Html | None:
    """The learning rate by step."""
    points = series_of(mappings(record.get("curve")), "step", "lr")
    if len(points) < 2:
        return None
    desc = f"Largest {significant(max(y for _, y in points))}, last {significant(points[-1][1])}."
    return line_chart("Learning rate", desc, [Series("lr", points, "one")], "step", significant)


def trained(report: Report) -> Html | None:
    """Bars on a logarithmic scale: what SVFit trains, and what the alternatives would."""
    counts = mapping(report.get("trainable"))
    known = (
        ("adapter", "SVFit adapter", "one"),
        ("lora_r8", "LoRA of rank 8, same layers", "grey"),
        ("full", "Full fine-tuning, same layers", "grey"),
        ("head", "Head, trained whole with any of them", "two"),
    )
    rows = [(name, number(counts.get(key)) or 0.0, cls) for key, name, cls in known]
    rows = [row for row in rows if row[1] >= 1]
    if not rows:
        return None
    top = math.ceil(math.log10(max(value for _, value, _ in rows)) + 0.02)
    width, step = 360.0, 34.0
    height = step * len(rows) + 18
    parts: list[Html] = []
    for power in range(0, top + 1, 1 if top < 6 else 2):
        x = 1 + (width - 2) * power / top
        anchor = "start" if power == 0 else "end" if power == top else "middle"
        parts += [
            shape("line", x1=f"{x:.1f}", x2=f"{x:.1f}", y1=0, y2=height - 14, cls="grid"),
            label(x, height - 2, f"{10**power:,}" if power < 4 else power_name(power), anchor=anchor),
        ]
    for i, (name, value, cls) in enumerate(rows):
        long = max(2.0, (width - 2) * math.log10(value) / top)
        y = i * step
        parts += [
            shape("rect", x=1, y=y + 16, width=f"{long:.1f}", height=11, rx=2, cls=f"fill {cls}"),
            label(1, y + 12, name, cls="name"),
            label(width - 1, y + 12, f"{value:,.0f}", cls="name value", anchor="end"),
        ]
    told = "; ".join(f"{name}: {value:,.0f}" for name, value, _ in rows)
    chart = picture(width, height, "Trained parameters, logarithmic scale", told, *parts, cls="plot bars")
    note = ""
    adapter, lora, full = (number(counts.get(key)) for key in ("adapter", "lora_r8", "full"))
    if adapter and lora and full:
        note = (
            f"The adapter trains {100 * adapter / lora:.1f}% of the values of LoRA of rank 8 on the same layers "
            f"and {100 * adapter / full:.2g}% of their weights. Each bar's length is the logarithm of its count."
        )
    return el("div", chart, el("p", note, cls="small") if note else None, cls="narrow")


def power_name(power: int) -> str:
    """10 000 → 10k, 1 000 000 → 1M."""
    unit, letter = next((u, s) for u, s in ((12, "T"), (9, "G"), (6, "M"), (3, "k")) if power >= u)
    return f"{10 ** (power - unit)}{letter}"
