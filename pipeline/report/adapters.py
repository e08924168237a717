"""The adapters of a swappable bundle: what each reaches alone, on the shared backbone, and in int8; and the price."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.report import names
from pipeline.report.markup import Html, el, isolate, table
from pipeline.report.values import count, fixed, mapping, mappings, number, percent, words

Report = Mapping[str, Any]


def adapters(report: Report) -> Html | None:
    """A row an adapter; None for a merged run."""
    swap = mapping(report.get("swap"))
    tasks = mappings(swap.get("tasks"))
    if not tasks:
        return None
    rows = [
        [
            isolate(words(task.get("name"))),
            names.title(words(task.get("metric"))),
            percent(task.get("kept_share")),
            names.write(words(task.get("metric")), task.get("merged")),
            names.write(words(task.get("metric")), task.get("served")),
            names.write(words(task.get("metric")), task.get("int8")),
        ]
        for task in tasks
    ]
    head = ["Adapter", "Metric", "Kept", "Merged alone", "Shared fp32", "Shared int8"]
    return el("div", _price(swap), table(f"Every adapter on the {split(swap)} rows", head, rows, texts={1}))


def split(swap: Mapping[str, Any]) -> str:
    """The split that the numbers are of."""
    return words(swap.get("split")) or "validation"


def _price(swap: Mapping[str, Any]) -> Html:
    price = mapping(swap.get("price"))
    worst = [value for key in ("batch_1", "batch_16") if (value := number(price.get(key))) is not None]
    told = f"{fixed(max(worst), 2)} times the time of a merged graph" if worst else "a price that wasn't measured"
    return el(
        "p",
        f"One backbone carries {count(swap.get('directions'))} singular directions for all of them, at {told}"
        f" (budget {fixed(price.get('budget'), 2)}). “Kept” is the share of what an adapter adds to the layers that"
        " goes through those directions; it then trained on with them alone.",
    )
