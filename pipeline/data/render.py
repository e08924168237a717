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
    table.add_column(_title(profile), justify="right")
    images = "pixels" in profile["splits"]["train"]
    over = f"over {profile['max_length']}"
    for size in ("pixels median / max", "small") if images else ("tokens median / 95% / max", over):
        table.add_column(size, justify="right")
    for name, split in profile["splits"].items():
        table.add_row(name, f"{split['rows']:,}", _labels(split), *(_pixels(split) if images else _tokens(split)))
    console.print(table)
    for sentence in profile["warnings"]:
        console.print(Text.assemble(("! ", "yellow"), sentence))


def _tokens(split: Mapping[str, Any]) -> tuple[str, str]:
    tokens = split["tokens"]
    return f"{tokens['median']:,} / {tokens['p95']:,} / {tokens['max']:,}", f"{tokens['truncated_share']:.1%}"


def _pixels(split: Mapping[str, Any]) -> tuple[str, str]:
    sides = [split["pixels"][side] for side in ("width", "height")]
    told = " / ".join(" × ".join(f"{side[which]:,.0f}" for side in sides) for which in ("median", "max"))
    return told, f"{split['pixels']['smaller'] / split['rows']:.1%}"


def _title(profile: Mapping[str, Any]) -> str:
    if "pairs" in profile["splits"]["train"]:
        return "texts"
    if "entities" in profile["splits"]["train"]:
        return "kinds, entities each"
    return "classes, rows each" if profile["labels"] else "numbers"


def _labels(split: Mapping[str, Any]) -> str:
    if "pairs" in split:
        return f"{split['pairs']['first']:,} texts, {split['pairs']['find']:,} to find"
    if "numbers" in split:
        numbers = split["numbers"]
        return f"{numbers['min']:g} to {numbers['max']:g}, mean {numbers['mean']:.3g}"
    counts = [count for count in split.get("classes", split.get("entities")).values() if count]
    if not counts:
        return "none"
    low, high = min(counts), max(counts)
    return f"{len(counts)}, {low:,}" if low == high else f"{len(counts)}, {low:,} to {high:,}"
