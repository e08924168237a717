"""The picture and the table of every variant that was tried."""

from __future__ import annotations

from typing import Any

from pipeline.report.pareto import pareto, picture
from pipeline.report.style import style


def row(name: str, ms: float, size: float, score: float = 0.9, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "held": True,
        "why": "",
        "bytes": size,
        "score": score,
        "parity": {"max_abs": 0.25},
        "latency": {"p50_ms": ms, "p99_ms": 2 * ms, "throughput": 1000 / ms},
        "memory": {"loaded_bytes": 2 * size, "peak_bytes": 3 * size},
        **more,
    }


def document(*rows: dict[str, Any]) -> dict[str, Any]:
    found = {"metric": "accuracy", "default": "int8", "rule": "the least", "front": ["int8"], "variants": list(rows)}
    return {"candidates": found}


ROWS = (row("int8", 5.0, 23e6), row("w4", 9.0, 19e6, 0.89), row("fp32", 10.0, 90e6, 0.91))


def test_what_nothing_beats_is_told_from_the_rest_in_both_sizes_of_the_picture() -> None:
    shown = str(pareto(document(*ROWS)))
    assert shown.count('class="dot one"') == 2
    assert shown.count('class="dot grey"') == 4
    assert "The default is the least." in shown
    assert ".slim{display:none}" in style() and ".wide{display:none}.slim{display:block}" in style()


def test_the_table_keeps_the_order_of_rank_and_marks_the_default() -> None:
    shown = str(pareto(document(*ROWS)))
    assert shown.index(">int8</bdi>") < shown.index(">w4</bdi>") < shown.index(">fp32</bdi>")
    assert shown.count('class="badge"') == 1


def test_one_that_failed_or_was_not_made_is_listed_with_its_reason_and_not_drawn() -> None:
    failed = row("int8-static", 4.0, 22e6, 0.5, held=False, why="loses 40.00 points, 0.5 allowed")
    absent = {"name": "fp16", "held": False, "why": "no <form> of it"}
    shown = str(pareto(document(*ROWS, failed, absent)))
    assert "failed" in shown and "not made" in shown
    assert "loses 40.00 points" in shown
    assert "no &lt;form&gt; of it" in shown
    drawn = str(picture(document(*ROWS, failed, absent)["candidates"], [*ROWS, failed, absent]))
    assert "int8-static" not in drawn


def test_nothing_is_shown_where_one_variant_was_made_and_no_picture_of_what_was_not_timed() -> None:
    assert pareto({}) is None and pareto({"candidates": None}) is None
    bare = [{key: value for key, value in one.items() if key not in ("latency", "memory")} for one in ROWS]
    assert "<svg" not in str(pareto(document(*bare)))
