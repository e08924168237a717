"""A profile on a terminal: a line a split, then what deserves a look."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text


def render_profile(profile: dict[str, Any], console: Console) -> None:
    """Print a profile compactly; texts and labels are shown as they are, never read as markup."""
    table = Table(box=None, pad_edge=False)
    table.add_column("split")
    table.add_column("rows", justify="right")
    table.add_column("classes, rows each" if profile["labels"] else "numbers", justify="right")
    table.add_column("tokens median / 95% / max", justify="right")
    table.add_column(f"over {profile['max_length']}", justify="right")
    for name, split in profile["splits"].items():
        tokens = split["tokens"]
        table.add_row(
            name,
            f"{split['rows']:,}",
            _labels(split),
            f"{tokens['median']:,} / {tokens['p95']:,} / {tokens['max']:,}",
            f"{tokens['truncated_share']:.1%}",
        )
    console.print(table)
    for sentence in profile["warnings"]:
        console.print(Text.assemble(("! ", "yellow"), sentence))


def _labels(split: Mapping[str, Any]) -> str:
    if "classes" not in split:
        numbers = split["numbers"]
        return f"{numbers['min']:g} to {numbers['max']:g}, mean {numbers['mean']:.3g}"
    counts = [count for count in split["classes"].values() if count]
    low, high = min(counts), max(counts)
    return f"{len(counts)}, {low:,}" if low == high else f"{len(counts)}, {low:,} to {high:,}"
