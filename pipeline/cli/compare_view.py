"""A comparison as a person reads it on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from .output import show
from .summary import number, size


def print_comparison(document: Mapping[str, Any], folder: Path) -> None:
    """The table, the notes, the recommendation, and where the page is."""
    show(_table(document))
    for method in document["methods"]:
        for note in method["notes"]:
            click.echo(f"! {method['method']}: {note}")
    recommendation = document["recommendation"]
    click.echo(recommendation["text"])
    for reason in recommendation["reasons"]:
        click.echo(f"- {reason}")
    click.echo(f"report  {folder / 'report.html'}")


def _table(document: Mapping[str, Any]) -> Any:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    metric = document["metric"].replace("_", "-")
    price = document["price"]
    tested = any(method["test"] for method in document["methods"])
    headings = ["rate", "trained", "of LoRA r=8", f"validation {metric}"]
    headings += [f"test {metric}"] if tested else []
    headings += ["s/step", "training", "memory", "size"]
    headings += [escape(f"cost {price['currency']}".rstrip())] if price else []
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("method")
    for heading in headings:
        table.add_column(heading, justify="right")
    for method in document["methods"]:
        table.add_row(*_row(method, document, tested))
    return table


def _row(method: Mapping[str, Any], document: Mapping[str, Any], tested: bool) -> list[str]:
    from pipeline.report.compare_words import share

    named = method["title"] if method["title"] == method["method"] else f"{method['method']} ({method['title']})"
    if method["status"] == "failed":
        return [named, "failed"]
    metric = document["metric"]
    row = [named, f"{method['rate']:g}" + ("*" if method["at_edge"] else "")]
    row += [number(method["trained"]["adapter"]), share(method["share_of_lora"])]
    row.append(_reached(method["validation"][metric]))
    if tested:
        row.append(_reached((method["test"] or {}).get(metric)))
    row += [f"{method['seconds_per_step']:.3g}", _time(method["prepare_seconds"] + method["seconds"])]
    row += [size(method["peak_memory_bytes"]), size(method["bytes"])]
    return row + ([f"{method['cost']['training']:.2g}"] if method["cost"] else [])


def _reached(numbers: Mapping[str, Any] | None) -> str:
    if numbers is None:
        return "–"
    spread = numbers["spread"]
    return f"{numbers['mean']:.4f}" if spread is None else f"{numbers['mean']:.4f} ± {spread:.4f}"


def _time(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
