"""The checks that a run must hold, each with what was measured and what was allowed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.report.markup import Html, el, isolate, join, table
from pipeline.report.values import mappings, plural, significant, words


def gates(report: Mapping[str, Any]) -> Html | None:
    """The gates as a table, or nothing when none was run."""
    rows = mappings(report.get("gates"))
    if not rows:
        return None
    failed = sum(row.get("passed") is not True for row in rows)
    caption = f"{plural(len(rows), 'gate')}, {failed or 'none'} failed"
    return table(caption, ["Gate", "Result", "Measured", "Limit"], (cells(row) for row in rows), texts=(0,))


def cells(gate: Mapping[str, Any]) -> list[Html | str]:
    """One gate's row."""
    passed = gate.get("passed") is True
    detail = words(gate.get("detail"))
    name = join([isolate(words(gate.get("name")) or "unnamed"), el("small", isolate(detail)) if detail else None])
    result = el("span", "✓ passed" if passed else "✕ failed", cls="ok" if passed else "bad")
    return [name, result, significant(gate.get("value")), significant(gate.get("limit"))]
