"""A run's report and a stage's summary, as a person reads them on a terminal."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from .output import show

SIZES = ("B", "KB", "MB", "GB", "TB")


def size(count: float | None) -> str:
    """Bytes in decimal units, three digits: 45.3 MB."""
    if count is None:
        return "–"
    unit = 0
    while count >= 999.5 and unit < len(SIZES) - 1:
        count, unit = count / 1000, unit + 1
    return f"{count:.3g} {SIZES[unit]}"


def number(value: Any) -> str:
    """A number short enough for a table; anything else as it is."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def failed_gates(report: Mapping[str, Any]) -> list[str]:
    """A line for each gate that failed and that the run could not work around."""
    return [
        f"gate {gate['name']} failed: {number(gate['value'])}, limit {number(gate['limit'])}"
        for gate in report.get("gates", [])
        if gate.get("fatal") and not gate.get("passed")
    ]


def print_report(report: Mapping[str, Any], folder: Path, *, pair: bool) -> None:
    """The short table that ends `svfit run`, and the line to try next."""
    from rich.markup import escape
    from rich.table import Table

    facts = Table(show_header=False, box=None, pad_edge=False)
    facts.add_column(style="bold")
    facts.add_column()
    for name, value in _numbers(report.get("metrics", {}).get("test")):
        facts.add_row(f"test {name}", number(value))
    trained = report.get("trainable", {})
    facts.add_row(
        "trained values",
        f"{number(trained.get('adapter'))} adapter + {number(trained.get('head'))} head"
        f"  (LoRA r=8: {number(trained.get('lora_r8'))}, full: {number(trained.get('full'))})",
    )
    for gate in report.get("gates", []):
        verdict = "[green]passed[/]" if gate["passed"] else "[red]failed[/]"
        facts.add_row(
            escape(f"gate {gate['name']}"), f"{verdict}  {number(gate['value'])} (limit {number(gate['limit'])})"
        )
    show(facts, _variants(report), *_adapters(report))
    paths = report.get("paths", {})
    bundle = paths.get("bundle") or str(folder / "bundle")
    click.echo(f"report  {paths.get('report') or folder / 'report.html'}")
    click.echo(f"bundle  {bundle}")
    texts = '"first text" "second text"' if pair else '"your text"'
    click.echo(f"try     svfit predict {shlex.quote(str(bundle))} {texts}")


def _variants(report: Mapping[str, Any]) -> Any:
    from rich import box
    from rich.table import Table

    variants = report.get("variants", [])
    metric = _main_metric(variants)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("variant")
    for heading in ("size", metric.replace("_", "-"), "parity", "p50 ms"):
        table.add_column(heading, justify="right")
    for variant in variants:
        metrics = variant.get("metrics", {})
        measured = metrics.get("test") or metrics.get("validation") or {}
        table.add_row(
            variant["name"] + (" (default)" if variant.get("default") else ""),
            size(variant.get("bytes")),
            number(measured.get(metric)),
            number((variant.get("parity") or {}).get("max_abs")),
            number((variant.get("latency") or {}).get("p50_ms")),
        )
    return table


def _adapters(report: Mapping[str, Any]) -> list[Any]:
    """A swappable run's adapters, as merged alone and as served."""
    from rich import box
    from rich.table import Table

    swap = report.get("swap")
    if not swap:
        return []
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("adapter")
    for heading in (f"{swap['split']} metric", "merged alone", "shared fp32", "shared int8"):
        table.add_column(heading, justify="right")
    for task in swap["tasks"]:
        table.add_row(
            task["name"], task["metric"].replace("_", "-"), *(number(task[key]) for key in ("merged", "served", "int8"))
        )
    return [table]


def _main_metric(variants: list[Mapping[str, Any]]) -> str:
    from pipeline.report.names import leading

    return leading(*(part for variant in variants for part in variant.get("metrics", {}).values())) or "accuracy"


def _numbers(metrics: Mapping[str, Any] | None) -> list[tuple[str, Any]]:
    """The single numbers of a metrics document; tables such as per-class results stay in the report."""
    found = metrics or {}
    return [(key.replace("_", "-"), value) for key, value in found.items() if isinstance(value, int | float)]


def print_summary(summary: Mapping[str, Any]) -> None:
    """A stage's summary as lines of `key value`; nested documents with dotted keys, lists by their length."""
    rows = list(_flat(summary, ""))
    width = max((len(key) for key, _ in rows), default=0)
    for key, value in rows:
        click.echo(f"{key:<{width}}  {value}")


def _flat(document: Mapping[str, Any], prefix: str) -> Any:
    for key, value in document.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}.")
        elif isinstance(value, list | tuple) and not all(isinstance(item, str | int | float) for item in value):
            yield name, f"{len(value)} entries"
        elif isinstance(value, list | tuple):
            shown = ", ".join(number(item) for item in value[:6])
            yield name, (shown or "none") + (f", … ({len(value)})" if len(value) > 6 else "")
        else:
            yield name, number(value)
