"""Comparisons of embedders, which have no head."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tiny_pairs import write_pairs

from pipeline.compare.cell import Cell
from pipeline.compare.engine import Record
from pipeline.compare.problem import ConfiguredProblem
from pipeline.compare.run import Request, compare


class Quiet:
    def begin(self, cell: Cell, phase: str) -> None: ...

    def step(self, done: int, total: int) -> None: ...

    def end(self, cell: Cell, record: Record, *, kept: bool) -> None: ...

    def again(self, cell: Cell) -> None: ...

    def skip(self, cells: int) -> None: ...


def here(work: Any, log: Path, tell: Callable[[int, int], None]) -> dict[str, Any]:
    found: dict[str, Any] = work(tell)
    return found


def test_methods_are_compared_by_what_is_found_and_a_head_that_is_not_there_fails_alone(
    base: Path, tmp_path: Path
) -> None:
    toml = write_pairs(tmp_path, base)
    problem = ConfiguredProblem(toml, ("train.epochs=2", "model.dimensions=[]"))
    request = Request(problem, ("svfit", "lora:2", "head"), 1, 1, {"per_hour": 1.0, "currency": "EUR"})
    found = compare(request, tmp_path / "out", lambda *_: Quiet(), run=here)
    svfit, lora, head = found["methods"]
    assert found["metric"] == "mrr_at_10"
    for one in (svfit, lora):
        assert one["status"] == "done", one["reason"]
        assert one["trained"] is not None and one["trained"]["head"] == 0
        assert one["test"] is not None and 0 < one["test"]["recall_at_10"]["mean"] <= 1
    assert head["status"] == "failed"
    assert "nothing" in str(head["reason"])
