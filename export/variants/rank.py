"""Which variant is best, and which are worth a look: rules over what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Record = Mapping[str, Any]
RULE = (
    "of the variants that held their gate, the least time × size: p50 of a row times bytes, each against fp32;"
    " fp32 where nothing else held"
)


def cost(record: Record, records: Sequence[Record]) -> float:
    """p50 × bytes against fp32's: 0.125 for half the time and a quarter of the size; bytes alone untimed."""
    fp32 = next(other for other in records if other["name"] == "fp32")
    share = float(record["bytes"]) / float(fp32["bytes"])
    if record.get("latency") and fp32.get("latency"):
        share *= float(record["latency"]["p50_ms"]) / float(fp32["latency"]["p50_ms"])
    return share


def best(records: Sequence[Record]) -> str:
    """The name of the variant that RULE picks. Forms for minimal builds (`of` "default") don't take part."""
    held = [row for row in records if row["held"] and row["name"] != "fp32" and row.get("of") != "default"]
    return str(min(held, key=lambda row: cost(row, records))["name"]) if held else "fp32"


def ranked(records: Sequence[Record]) -> list[Record]:
    """Those that held first, by their cost, then those that didn't, then those that couldn't be made."""
    return sorted(
        records,
        key=lambda row: (not row["held"], "bytes" not in row, cost(row, records) if "bytes" in row else 0.0),
    )


def front(records: Sequence[Record], metric: str) -> list[str]:
    """Names of those that held and that no other one beats: at least as good on validation, p50, bytes and peak memory,
    and better in one. Empty where nothing was timed."""
    measured = {
        str(row["name"]): (
            -float(row["metrics"]["validation"][metric]),
            float(row["latency"]["p50_ms"]),
            float(row["bytes"]),
            float(row["memory"]["peak_bytes"]),
        )
        for row in records
        if row["held"] and row.get("latency") and row.get("memory")
    }
    return [
        name
        for name, own in measured.items()
        if not any(_beats(other, own) for rival, other in measured.items() if rival != name)
    ]


def _beats(one: Sequence[float], other: Sequence[float]) -> bool:
    return all(a <= b for a, b in zip(one, other, strict=True)) and tuple(one) != tuple(other)
