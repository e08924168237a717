"""From the records of a method's trainings to its part of the comparison's document."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from pipeline.compare.engine import Record, Swept
from pipeline.compare.result import Cost, MethodResult, Numbers, Point, Price, TriedRate

HOUR = 3600.0


def method_result(swept: Swept, metric: str, price: Price | None) -> MethodResult:
    """What a method took and reached. Nothing is measured here."""
    records = [record for _, record in swept.tried] + [record for _, record in swept.seeds[1:]]
    spent = sum(record["wall_seconds"] for record in records)
    finished = swept.finished
    result: MethodResult = {
        "method": swept.method.key,
        "title": swept.method.title,
        "status": "done" if finished else "failed",
        "reason": None if finished else _why(swept),
        "notes": _notes(swept),
        "trained": None,
        "share_of_lora": None,
        "bytes": None,
        "rates": [_tried(rate, record, metric) for rate, record in swept.tried],
        "rate": swept.rate,
        "at_edge": bool(finished) and _at_edge(swept),
        "seeds": [seed for seed, _ in finished],
        "validation": None,
        "test": None,
        "seconds_per_step": None,
        "seconds": None,
        "prepare_seconds": None,
        "sweep_seconds": spent,
        "peak_memory_bytes": None,
        "cost": None,
        "curve": [],
        "epochs": [],
    }
    return result | _measured([record for _, record in finished], spent, price) if finished else result  # type: ignore[return-value]


def numbers(values: Sequence[float]) -> Numbers:
    """Mean and spread of some values."""
    spread = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "spread": spread, "values": list(values)}


def _measured(records: Sequence[Record], spent: float, price: Price | None) -> dict[str, Any]:
    first = records[0]

    def middle(key: str) -> float:
        return float(statistics.median(record[key] for record in records))

    prepare, seconds = middle("prepare_seconds"), middle("total_seconds")
    tested = [record["test"] for record in records if "test" in record]
    return {
        "trained": first["trained"],
        "share_of_lora": first["trained"]["adapter"] / first["layers"]["lora"],
        "bytes": first["bytes"],
        "validation": _over([record["validation"] for record in records]),
        "test": _over(tested) if len(tested) == len(records) else None,
        "seconds_per_step": middle("seconds_per_step"),
        "seconds": seconds,
        "prepare_seconds": prepare,
        "peak_memory_bytes": max(record["peak_memory_bytes"] for record in records),
        "cost": _cost(prepare + seconds, spent, price),
        "curve": [_point(row) for row in first["curve"]],
        "epochs": first["epochs"],
    }


def _over(found: Sequence[dict[str, float]]) -> dict[str, Numbers]:
    return {key: numbers([row[key] for row in found]) for key in found[0]}


def _cost(training: float, spent: float, price: Price | None) -> Cost | None:
    if price is None:
        return None
    return {"training": training / HOUR * price["per_hour"], "all": spent / HOUR * price["per_hour"]}


def _point(row: dict[str, Any]) -> Point:
    return {"step": row["step"], "seconds": row["seconds"], "loss": row["loss"]}


def _tried(rate: float, record: Record, metric: str) -> TriedRate:
    if record["status"] == "done":
        return {"rate": rate, "validation": record["validation"][metric], "status": "done", "reason": None}
    return {"rate": rate, "validation": None, "status": "failed", "reason": record["reason"]}


def _at_edge(swept: Swept) -> bool:
    """A rate beside it that failed is a bound too: then there is nothing to be had beyond."""
    rates = [rate for rate, _ in swept.tried]
    return len(rates) > 1 and swept.rate in (rates[0], rates[-1])


def _why(swept: Swept) -> str:
    if swept.rate is None:
        reasons = list(dict.fromkeys(record["reason"] for _, record in swept.tried))
        count = len(swept.tried)
        return f"{'its rate' if count == 1 else f'all {count} rates'} failed: {reasons[0]}"
    return f"no seed went through at the rate {swept.rate:g}: {swept.seeds[0][1]['reason']}"


def _notes(swept: Swept) -> list[str]:
    notes = []
    if swept.finished and _at_edge(swept):
        end = "lowest" if swept.rate == swept.tried[0][0] else "highest"
        notes.append(f"The best rate, {swept.rate:g}, is the {end} of those tried: more may be had beyond it.")
    for rate, record in swept.tried:
        if record["status"] != "done" and swept.rate not in (None, rate):
            notes.append(f"The rate {rate:g} failed: {record['reason']}")
    for seed, record in swept.seeds:
        if record["status"] != "done" and swept.finished:
            notes.append(f"Seed {seed} failed at the chosen rate, {swept.rate:g}: {record['reason']}")
    return notes
