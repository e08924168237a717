"""What `svfit quantize --all` shows: every variant by rank, and what to know of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from .output import show
from .summary import number, print_summary, size


def print_quantized(summary: Mapping[str, Any]) -> None:
    """The table of several variants; of one its summary."""
    if "variants" not in summary:
        print_summary(summary)
        return
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("variant")
    for heading in (
        summary["metric"].replace("_", "-"),
        "parity",
        "size",
        "p50 ms",
        "p99 ms",
        "rows/s",
        "loaded",
        "peak",
    ):
        table.add_column(heading, justify="right")
    table.add_column("gate")
    for row in summary["variants"]:
        latency, memory = row.get("latency") or {}, row.get("memory") or {}
        table.add_row(
            row["name"] + (" (default)" if row["name"] == summary["default"] else ""),
            number(row.get("score")),
            number((row.get("parity") or {}).get("max_abs")),
            size(row.get("bytes")),
            *(number(latency.get(key)) for key in ("p50_ms", "p99_ms", "throughput")),
            *(size(memory.get(key)) for key in ("loaded_bytes", "peak_bytes")),
            "held" if row["held"] else "failed" if "bytes" in row else "not made",
        )
    show(table)
    for row in summary["variants"]:
        kept = row.get("kept_fp32") or []
        stays = f"{len(kept)} layers stay in fp32" if kept else ""
        for told in filter(None, (row.get("why"), stays, *row.get("remarks", ()))):
            click.echo(f"{row['name']}: {told}")
    click.echo(f"bundle: {', '.join(summary['bundle'])}")
