"""How good the model is: overall, per class, and what it takes for what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.report import entities, names
from pipeline.report.markup import Html, el, isolate, join, scroller, table
from pipeline.report.pictures import gallery, has_pictures
from pipeline.report.similarity import similarity
from pipeline.report.svg import bar, cells, level, picture, scale, shape
from pipeline.report.values import (
    MISSING,
    count,
    fixed,
    items,
    mapping,
    mappings,
    number,
    numbers,
    percent,
    plural,
    words,
)

Report = Mapping[str, Any]
FEW = 25
WEAKEST = 10
PAIRS = 10


def quality(report: Report) -> Html | None:
    """Overall numbers of every split, then classes and confusion of the split that results are quoted from."""
    split, metrics = names.measured(report)
    overall = overall_table(mapping(report.get("metrics")))
    labels = label_names(report, metrics)
    parts = [
        overall,
        per_class(metrics, split),
        confusion(metrics, labels, split),
        entities.mistakes(report),
        similarity(report),
    ]
    return el("div", *parts) if any(parts) else None


def overall_table(metrics: Mapping[str, Any]) -> Html | None:
    """A row a metric, a column a split."""
    splits = [split for split in ("validation", "test") if mapping(metrics.get(split))]
    keys = [k for k in names.METRICS if any(number(metrics[s].get(k)) is not None for s in splits)]
    if not keys:
        return None
    rows = ([names.title(k), *(names.write(k, metrics[s].get(k)) for s in splits)] for k in keys)
    return table("Overall results", ["Metric", *(s.capitalize() for s in splits)], rows, cls="compact")


def label_names(report: Report, metrics: Mapping[str, Any]) -> list[str]:
    """The labels in the order of the confusion matrix; numbers where names are missing."""
    labels = [words(label) for label in items(report.get("labels"))]
    labels = labels or [words(row.get("label")) for row in mappings(metrics.get("per_class"))]
    missing = range(len(labels), len(items(metrics.get("confusion"))))
    return labels + [f"class {i}" for i in missing]


def per_class(metrics: Mapping[str, Any], split: str) -> Html | None:
    """Classes by F1, the weakest first; the whole list folds away when it is long."""
    rows = sorted(mappings(metrics.get("per_class")), key=lambda row: number(row.get("f1")) or 0.0)
    if not rows:
        return None
    if number(metrics.get("entity_f1")) is not None:
        return class_table(f"Per kind on {split}, weakest F1 first", rows, "Kind", "Entities")
    if len(rows) <= FEW:
        return class_table(f"Per class on {split}, weakest F1 first", rows)
    return el(
        "div",
        class_table(f"The {WEAKEST} classes with the lowest F1 on {split}", rows[:WEAKEST]),
        el("details", el("summary", f"All {len(rows)} classes"), class_table(f"Every class on {split}, by F1", rows)),
    )


def class_table(caption: str, rows: Sequence[Mapping[str, Any]], of: str = "Class", many: str = "Rows") -> Html:
    """Precision, recall, F1 and support of each class."""
    body = (
        [
            isolate(words(row.get("label"))),
            el("span", bar(number(row.get("f1")) or 0.0), fixed(row.get("f1")), cls="measure"),
            fixed(row.get("precision")),
            fixed(row.get("recall")),
            count(row.get("support")),
        ]
        for row in rows
    )
    return table(caption, [of, "F1", "Precision", "Recall", many], body, cls="classes", texts=(0,))


def confusion(metrics: Mapping[str, Any], labels: Sequence[str], split: str) -> Html | None:
    """A heat map of true class by predicted class, shaded by share of the true class."""
    matrix = [numbers(row) for row in items(metrics.get("confusion"))]
    matrix = [row for row in matrix if len(row) == len(matrix)]
    if not matrix or len(matrix) != len(items(metrics.get("confusion"))):
        return None
    wrong = confused(matrix, labels)
    total = sum(map(sum, matrix))
    missed = total - sum(row[i] for i, row in enumerate(matrix))
    said = f"{count(missed)} of {plural(total, 'row')} on {split} went to a wrong class."
    drawn = small(matrix, labels) if len(matrix) <= FEW else large(matrix, said)
    heading = el("figcaption", el("b", "Confusion"), scale("none", "all of a class"))
    return el("div", el("figure", heading, drawn, el("p", said, cls="small")), pairs(wrong))


def small(matrix: Sequence[Sequence[float]], labels: Sequence[str]) -> Html:
    """Up to 25 classes: a table with the counts in it."""
    head = (el("th", el("span", isolate(label), title=label), scope="col") for label in labels)
    rows = []
    for i, row in enumerate(matrix):
        total = sum(row)
        shaded = (
            el(
                "td",
                count(n) if n else el("span", "·", cls="nil"),
                cls=f"s{level(n, total, 1)}" + (" hit" if i == j else ""),
            )
            for j, n in enumerate(row)
        )
        rows.append(el("tr", el("th", isolate(labels[i]), scope="row"), *shaded))
    corner = el("td", el("small", "true ↓ predicted →"))
    inner = el(
        "table",
        el("caption", "Rows of each true class by predicted class"),
        el("thead", el("tr", corner, *head)),
        el("tbody", *rows),
        cls="confusion",
    )
    return scroller("Confusion matrix", inner)


def large(matrix: Sequence[Sequence[float]], said: str) -> Html:
    """Many classes: shades only, one path a shade."""
    n = len(matrix)
    boxes = ((level(v**0.5, sum(row) ** 0.5, 1), j, i, 1, 1) for i, row in enumerate(matrix) for j, v in enumerate(row))
    desc = f"{n} by {n} classes in the order of the labels, true class down, predicted class across. {said}"
    frame = shape("rect", width=n, height=n, cls="frame")
    drawn = picture(n, n, "Confusion matrix", desc, frame, cells(boxes), cls="plot matrix")
    return el(
        "div",
        drawn,
        el(
            "p",
            f"{n} true classes down, predicted across, in the order of the labels. Square-root shades.",
            cls="small",
        ),
    )


def confused(matrix: Sequence[Sequence[float]], labels: Sequence[str]) -> list[tuple[float, float, str, str]]:
    """Wrong (rows, share of the true class, true, predicted), the most frequent first."""
    found = [
        (value, value / sum(row), labels[i], labels[j])
        for i, row in enumerate(matrix)
        for j, value in enumerate(row)
        if i != j and value > 0
    ]
    return sorted(found, key=lambda pair: (-pair[0], -pair[1]))


def pairs(wrong: Sequence[tuple[float, float, str, str]]) -> Html | None:
    """The most confused pairs."""
    if not wrong:
        return None
    shown = wrong[:PAIRS]
    rows = ([isolate(true), isolate(taken), count(n), percent(share)] for n, share, true, taken in shown)
    caption = "Most confused pairs" + (f", {PAIRS} of {len(wrong)}" if len(wrong) > PAIRS else "")
    return table(caption, ["True class", "Taken for", "Rows", "Share"], rows, texts=(0, 1))


def samples(report: Report) -> Html | None:
    """Example predictions."""
    if entities.is_tagger(report):
        return entities.samples(report)
    rows = mappings(report.get("samples"))
    if not rows:
        return None
    if has_pictures(report):
        return gallery(rows)
    if report.get("task") == "text-embedding":
        return None
    regression = report.get("task") == "text-regression"
    body = (
        [quoted(row.get("text")), isolate(words(row.get("label")) or MISSING), score(row, regression)] for row in rows
    )
    head = ["Text", "Label", "Probability"]
    if regression:
        body = ([quoted(row.get("text")), score(row, regression)] for row in rows)
        head = ["Text", "Value"]
    return table(
        "What the bundle answered", head, body, cls="samples", row_heads=False, texts=(0,) if regression else (0, 1)
    )


def quoted(value: Any) -> Html:
    """A text, or the texts of a pair, cut where they get long."""
    texts = [words(each) for each in items(value)] or [words(value)]
    return join(el("div", isolate(t if len(t) <= 400 else t[:400] + "…")) for t in texts)


def score(row: Mapping[str, Any], regression: bool) -> Html | str:
    """A probability with its bar, or a number."""
    value = number(row.get("score"))
    if regression:
        return fixed(value if value is not None else row.get("label"))
    return el("span", bar(value or 0.0), percent(value), cls="measure")
