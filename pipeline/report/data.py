"""What data it was learned from, and what about it deserves a look (the profile of `pipeline.data`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.report.markup import Html, el, facts, isolate, join, table
from pipeline.report.pictures import picture_table
from pipeline.report.svg import bar, label, picture, shape
from pipeline.report.values import (
    MISSING,
    at,
    count,
    items,
    mapping,
    mappings,
    number,
    numbers,
    percent,
    plural,
    significant,
    words,
)

FEW = 12


def data(report: Mapping[str, Any]) -> Html | None:
    """Warnings first, then splits, classes or numbers, and repeated texts."""
    profile = mapping(report.get("data"))
    splits = {str(name): split for name, split in mapping(profile.get("splits")).items() if mapping(split)}
    parts = [
        warnings(profile),
        picture_table(splits)
        if mapping(at(splits, "train", "pixels"))
        else split_table(splits, profile.get("max_length")),
        class_table(splits),
        histogram(splits),
        repeated(profile),
        conflicts(mappings(at(profile, "duplicates", "examples"))),
    ]
    return el("div", *parts) if any(parts) else None


def warnings(profile: Mapping[str, Any]) -> Html | None:
    """Each warning as it was said."""
    said = [el("li", isolate(words(each))) for each in items(profile.get("warnings")) if words(each)]
    if not said:
        return None
    return el("div", el("b", f"⚠ {plural(len(said), 'thing')} to look at"), el("ul", *said), cls="callout", role="note")


def split_table(splits: Mapping[str, Mapping[str, Any]], max_length: Any) -> Html | None:
    """A row a split: rows, lengths in tokens, what was cut, what was empty, and where it came from."""
    if not splits:
        return None
    over = f"Over {count(max_length)}" if number(max_length) else "Truncated"
    rows = (
        [
            name,
            count(split.get("rows")),
            count(at(split, "tokens", "median")),
            count(at(split, "tokens", "p95")),
            count(at(split, "tokens", "max")),
            percent(at(split, "tokens", "truncated_share")),
            count(at(split, "empty_texts", "count")),
            isolate(words(split.get("source")) or MISSING),
        ]
        for name, split in splits.items()
    )
    head = ["Split", "Rows", "Tokens, median", "95%", "Longest", over, "Empty", "From"]
    return table("Splits", head, rows, cls="splits", texts=(7,))


def class_table(splits: Mapping[str, Mapping[str, Any]]) -> Html | None:
    """Rows of each class (or entities of each kind) by split, the largest first; folded when there are many."""
    key = "entities" if any(mapping(split.get("entities")) for split in splits.values()) else "classes"
    counts = {name: mapping(split.get(key)) for name, split in splits.items() if mapping(split.get(key))}
    if not counts:
        return None
    one, many, each_of = ("Kind", "kinds", "entity") if key == "entities" else ("Class", "classes", "row")
    first = next(iter(counts.values()))
    labels = list(dict.fromkeys(label for classes in counts.values() for label in classes))
    labels.sort(key=lambda name: -(number(first.get(name)) or 0.0))
    most = max((number(first.get(name)) or 0.0 for name in labels), default=0.0)
    rows = [
        [
            isolate(name),
            *(class_cell(classes.get(name), most if i == 0 else 0.0) for i, classes in enumerate(counts.values())),
        ]
        for name in labels
    ]
    caption = "Entities of each kind" if key == "entities" else "Rows of each class"
    made = table(caption, [one, *counts], rows, texts=(0,))
    if len(labels) <= FEW:
        return made
    fewest = min(number(first.get(name)) or 0.0 for name in labels)
    each = f"{count(fewest)} to {plural(most, each_of, 'entities' if key == 'entities' else '')} each"
    span = f"{plural(len(labels), one.lower(), many)}, {each} in {next(iter(counts))}"
    return el("details", el("summary", span), made)


def class_cell(value: Any, most: float) -> Html | str:
    """A count, with its bar in the first column."""
    if most <= 0:
        return count(value)
    return el("span", bar((number(value) or 0.0) / most), count(value), cls="measure")


def histogram(splits: Mapping[str, Mapping[str, Any]]) -> Html | None:
    """How a regression's numbers are spread over the first split, and the range in each."""
    ranges = [(name, mapping(split.get("numbers"))) for name, split in splits.items() if mapping(split.get("numbers"))]
    if not ranges:
        return None
    rows = (
        [name, significant(found.get("min")), significant(found.get("mean")), significant(found.get("max"))]
        for name, found in ranges
    )
    name, found = ranges[0]
    drawn = columns(name, numbers(at(found, "histogram", "counts")), numbers(at(found, "histogram", "edges")))
    return el("div", table("The numbers to predict", ["Split", "Least", "Mean", "Most"], rows, cls="compact"), drawn)


def columns(name: str, counts: Sequence[float], edges: Sequence[float]) -> Html | None:
    """Bars of a histogram."""
    if not counts or max(counts) <= 0:
        return None
    width, height, foot = 360.0, 130.0, 112.0
    step = width / len(counts)
    parts = [
        shape(
            "rect",
            x=f"{i * step + 1:.1f}",
            y=f"{foot - tall:.1f}",
            width=f"{step - 2:.1f}",
            height=f"{tall:.1f}",
            cls="fill",
        )
        for i, n in enumerate(counts)
        if (tall := 96 * n / max(counts)) > 0
    ]
    parts.append(shape("line", x1=0, x2=width, y1=foot, y2=foot, cls="grid"))
    if len(edges) == len(counts) + 1:
        ends = ((0.0, edges[0], "start"), (width / 2, edges[len(edges) // 2], "middle"), (width, edges[-1], "end"))
        parts += [label(x, height - 3, significant(value), anchor=anchor) for x, value, anchor in ends]
    told = ", ".join(count(n) for n in counts)
    drawn = picture(width, height, f"Numbers in {name}", f"Rows in equal bins: {told}.", *parts)
    return el("figure", el("figcaption", el("b", f"Spread in {name}")), drawn, cls="narrow")


def repeated(profile: Mapping[str, Any]) -> Html | None:
    """Texts that stand more than once, and texts that stand in train and elsewhere."""
    duplicates = mapping(profile.get("duplicates"))
    pairs: list[tuple[str, Html | str | None]] = []
    if number(duplicates.get("rows")) is not None:
        pairs.append(("Repeated texts in train", plural(duplicates["rows"], "row")))
    if number(duplicates.get("conflicting")) is not None:
        pairs.append(("With different labels", plural(duplicates["conflicting"], "text")))
    for pair, rows in mapping(profile.get("overlap")).items():
        if number(rows) is not None:
            where = str(pair).removeprefix("train_")
            pairs.append((f"Texts of {where} that are in train too", plural(rows, "row")))
    return facts(pairs)


def conflicts(examples: Sequence[Mapping[str, Any]]) -> Html | None:
    """Examples of texts that carry different labels."""
    if not examples:
        return None
    rows = (
        [
            join(el("div", isolate(words(text))) for text in items(example.get("text"))),
            join((isolate(words(each)) for each in items(example.get("labels"))), ", "),
            ", ".join(words(line) for line in items(example.get("lines"))) or MISSING,
        ]
        for example in examples
    )
    head = ["Text", "Labels", "Lines"]
    return table("One text, different labels", head, rows, cls="samples", row_heads=False, texts=(0, 1))
