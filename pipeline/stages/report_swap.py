"""What a swappable run adds to its report."""

from __future__ import annotations

from typing import Any

from pipeline.stages.context import Context


def swap_section(swapped: dict[str, Any], quantized: dict[str, Any]) -> dict[str, Any]:
    """Adapters side by side: merged alone at full rank, on the shared backbone, and that in int8 (None: not made)."""
    int8 = {row["name"]: row["metrics"] for row in quantized.get("tasks", ())}
    tested = all("test" in row["metrics"] for row in swapped["tasks"])
    split = "test" if tested else "validation"
    return {
        "directions": swapped["files"]["width"],
        "price": swapped["price"],
        "split": split,
        "tasks": [
            {
                "name": row["name"],
                "metric": row["metric"],
                "kept_share": row["kept_share"],
                "merged": row["full_metrics"][split][row["metric"]],
                "served": row["metrics"][split][row["metric"]],
                "int8": int8[row["name"]][split][row["metric"]] if row["name"] in int8 else None,
            }
            for row in swapped["tasks"]
        ],
    }


def swap_gates(context: Context, swapped: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Parity of the shared graph, its price, and what the adapter that loses most loses by sharing."""
    if swapped is None:
        return []
    price, parity, limit = swapped["price"], swapped["parity"], context.config.export.swap_max_drop
    worst = max(swapped["tasks"], key=lambda row: float(row["drop"]))
    took = max(price["batch_1"], price["batch_16"])
    return [
        {
            "name": "swap parity",
            "value": max(parity["max_abs"], parity["mixed"]),
            "limit": parity["limit"],
            "passed": max(parity["max_abs"], parity["mixed"]) <= parity["limit"],
            "fatal": True,
            "detail": "the shared graph against PyTorch with each adapter, without one, and rows in mixed batches",
        },
        {
            "name": "swap price",
            "value": took,
            "limit": price["budget"],
            "passed": took <= price["budget"],
            "fatal": True,
            "detail": "time of the shared graph over that of the merged one, batch 1 and 16, one thread",
        },
        {
            "name": "swap accuracy",
            "value": worst["drop"],
            "limit": limit,
            "passed": worst["drop"] <= limit,
            "fatal": False,
            "detail": f"points of {worst['metric']} that {worst['name']} loses on the validation rows by sharing",
        },
    ]
