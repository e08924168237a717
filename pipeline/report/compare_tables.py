"""The methods as tables: what each costs and reaches, every metric, and every seed."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.compare.result import Comparison, MethodResult
from pipeline.report import names
from pipeline.report.compare_look import Entry, key, named
from pipeline.report.compare_words import (
    LORA,
    better,
    fixed,
    memory,
    metrics,
    money,
    over_seeds,
    places,
    rate,
    sentence,
    share,
)
from pipeline.report.markup import Html, el, isolate, join, scroller, table
from pipeline.report.values import MISSING, count, duration, number, plural, significant, size


def methods(document: Comparison, listed: Sequence[Entry]) -> Html:
    """A row a method; the recommended one is marked, and a failed one says why."""
    metric, price, tested = document["metric"], document["price"], has_test(document)
    heads = alike([entry.result["trained"]["head"] for entry in listed if entry.result["trained"]])
    name = names.title(metric)
    columns: list[tuple[str, str | None]] = [
        ("Trained values", "head apart"),
        (f"Of {LORA}", None),
        (name, "validation"),
        *([(name, "test")] if tested else []),
        ("A step", None),
        ("One training", None),
        ("All trainings", None),
        ("Peak memory", None),
        ("Size", "float32"),
        *([("Cost", "one; all")] if price else []),
    ]
    head = el("tr", *(el("th", h, el("small", s) if s else None, scope="col") for h, s in [("Method", None), *columns]))
    body = [row(document, entry, len(columns), heads is None, tested) for entry in listed]
    caption = "What each method costs and reaches"
    inner = el("table", el("caption", caption), el("thead", head), el("tbody", *body), cls="methods")
    return el("div", scroller(caption, inner), legend(document, heads), remarks(listed))


def row(document: Comparison, entry: Entry, columns: int, own_heads: bool, tested: bool) -> Html:
    """One method."""
    one, metric, price = entry.result, document["metric"], document["price"]
    if one["status"] == "failed":
        said = el("span", "✕ failed: ", sentence(one["reason"] or "for no known reason"))
        why = el("td", said, colspan=columns, cls="failed")
        return el("tr", first(document, entry), why)
    after = places(document, metric)
    trained, prepared = one["trained"], number(one["prepare_seconds"])
    cells: list[Html | str] = [
        join(
            [
                count(trained["adapter"]) if trained else MISSING,
                el("small", f"+ {count(trained['head'])}") if trained and own_heads else None,
            ]
        ),
        share(one["share_of_lora"]),
        over_seeds((one["validation"] or {}).get(metric), after),
    ]
    if tested:
        cells.append(over_seeds((one["test"] or {}).get(metric), after))
    cells += [
        f"{significant(one['seconds_per_step'])} s" if number(one["seconds_per_step"]) is not None else MISSING,
        join([duration(one["seconds"]), el("small", f"+ {duration(prepared)} before") if prepared else None]),
        duration(one["sweep_seconds"]),
        memory(one["peak_memory_bytes"]),
        size(one["bytes"]),
    ]
    if price:
        cost, currency = one["cost"], price["currency"]
        told = (
            join([money(cost["training"], currency), el("small", f"{money(cost['all'], currency)}")])
            if cost
            else MISSING
        )
        cells.append(told)
    return el("tr", first(document, entry), *(el("td", cell) for cell in cells), cls="won" if entry.chosen else None)


def first(document: Comparison, entry: Entry) -> Html:
    """A row's header: shape, title, what a person types, and what must be known of it."""
    one = entry.result
    said = [el("code", isolate(one["method"]))] if one["method"] != one["title"] else []
    if one["rate"] is not None:
        said.append(el("span", f" rate {rate(one['rate'])}"))
    if one["status"] == "done" and len(one["seeds"]) < len(document["seeds"]):
        said.append(el("span", f", {len(one['seeds'])} of {plural(len(document['seeds']), 'seed')}"))
    badge = join([" ", el("span", "recommended", cls="badge")]) if entry.chosen else None
    return el("th", key(entry.look), isolate(one["title"]), badge, el("small", *said) if said else None, scope="row")


def legend(document: Comparison, heads: int | None) -> Html:
    """What the numbers are."""
    seeds = len(document["seeds"])
    spread = (
        f"±: standard deviation over {seeds} seeds."
        if seeds > 1
        else "One seed: how much chance moves these numbers isn't known, so no ± is shown."
    )
    head = (
        f" The head, {plural(heads, 'value')}, is trained by every method, comes on top and is part of the size."
        if heads
        else ""
    )
    lora = f" {LORA} trains {plural(document['lora_values'], 'value')} on the same layers."
    lora += " All trainings: every rate and every seed."
    price = document["price"]
    cost = ""
    if price:
        hour = money(price["per_hour"], price["currency"])
        cost = f" Cost: wall-clock at {hour} an hour, of one training and, below, of all."
    way = f"{names.title(document['metric'])}: {better(document, document['metric'])}. "
    return el("p", way + spread + head + lora + cost, cls="small")


def remarks(listed: Sequence[Entry]) -> Html | None:
    """What was noted of each method."""
    said = [
        el("li", el("b", isolate(entry.title)), ": ", sentence(note))
        for entry in listed
        for note in entry.result["notes"]
    ]
    return el("ul", *said, cls="notes") if said else None


def every_metric(document: Comparison, listed: Sequence[Entry]) -> Html | None:
    """Means and spreads of all metrics, validation beside test."""
    keys, tested = metrics(document), has_test(document)
    done = [entry for entry in listed if entry.done]
    if not done:
        return None
    splits = ["validation", "test"] if tested else ["validation"]
    groups = [el("td", ""), *(group(document, name, len(splits)) for name in keys)]
    under = [el("th", "Method", scope="col"), *(el("th", split, scope="col") for _ in keys for split in splits)]
    body = [
        el(
            "tr",
            el("th", named(entry), scope="row"),
            *metric_cells(document, entry.result, keys, tested),
            cls="won" if entry.chosen else None,
        )
        for entry in done
    ]
    caption = "Every metric, mean ± spread" if len(document["seeds"]) > 1 else "Every metric"
    head = el("thead", el("tr", *groups), el("tr", *under))
    return scroller(caption, el("table", el("caption", caption), head, el("tbody", *body), cls="methods groups"))


def group(document: Comparison, metric: str, columns: int) -> Html:
    """A metric over its columns."""
    way = el("small", better(document, metric))
    return el("th", names.title(metric), way, colspan=columns, scope="colgroup")


def metric_cells(document: Comparison, one: MethodResult, keys: Sequence[str], tested: bool) -> list[Html]:
    """A method's cells, metric by metric."""
    cells = []
    for name in keys:
        after = places(document, name)
        cells.append(el("td", over_seeds((one["validation"] or {}).get(name), after)))
        if tested:
            cells.append(el("td", over_seeds((one["test"] or {}).get(name), after)))
    return cells


def every_seed(document: Comparison, listed: Sequence[Entry]) -> Html | None:
    """The comparison's metric of each seed."""
    metric = document["metric"]
    after = places(document, metric)
    rows: list[list[Html | str]] = []
    for entry in listed:
        for split, found in (("validation", entry.result["validation"]), ("test", entry.result["test"])):
            if found and metric in found:
                by_seed = dict(zip(entry.result["seeds"], found[metric]["values"], strict=False))
                rows.append([named(entry), split, *(fixed(by_seed.get(seed), after) for seed in document["seeds"])])
    head = ["Method", "Rows", *(f"seed {seed}" for seed in document["seeds"])]
    return table(f"{names.title(metric)} of each seed", head, rows, cls="compact", texts=(0, 1)) if rows else None


def has_test(document: Comparison) -> bool:
    """Whether any method was measured on test rows."""
    return any(one["test"] for one in document["methods"])


def alike(values: Sequence[int]) -> int | None:
    """The value that all are; None where they differ."""
    return values[0] if values and len(set(values)) == 1 else None
