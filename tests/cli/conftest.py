"""A stand-in for the run itself: these tests are about the command line around it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

REPORT: dict[str, Any] = {
    "name": "task",
    "metrics": {"test": {"accuracy": 0.9312, "macro_f1": 0.92, "per_class": {"a": {"f1": 1.0}}}},
    "trainable": {"adapter": 13824, "head": 29645, "lora_r8": 331776, "full": 22713216},
    "gates": [{"name": "parity", "value": 3e-7, "limit": 1e-4, "passed": True}],
    "variants": [
        {
            "name": "fp32",
            "default": False,
            "bytes": 90_900_000,
            "metrics": {"validation": {"accuracy": 0.91}, "test": {"accuracy": 0.9312}},
            "parity": {"max_abs": 3e-7},
            "latency": {"p50_ms": 8.31, "p99_ms": 9.9, "throughput": 160.0},
        },
        {
            "name": "int8",
            "default": True,
            "bytes": 23_100_000,
            "metrics": {"validation": {"accuracy": 0.91}, "test": {"accuracy": 0.93}},
            "parity": {"max_abs": 0.12},
            "latency": {"p50_ms": 4.2, "p99_ms": 5.0, "throughput": 300.0},
        },
    ],
    "paths": {"report": "runs/task/report.html", "bundle": "runs/task/bundle"},
}


class Runner(ModuleType):
    """`pipeline.stages.runner` as the commands see it: records its calls, answers or raises as told."""

    def __init__(self) -> None:
        super().__init__("pipeline.stages.runner")
        self.calls: list[tuple[str, Any, Path, bool | None]] = []
        self.answer: dict[str, Any] = REPORT
        self.act: Callable[[Any], None] = lambda console: console.print("working")

    def run(self, config: Any, folder: Path, *, fresh: bool, console: Any) -> dict[str, Any]:
        self.calls.append(("run", config, folder, fresh))
        self.act(console)
        return self.answer

    def run_stage(self, name: str, config: Any, folder: Path, *, console: Any) -> dict[str, Any]:
        self.calls.append((name, config, folder, None))
        self.act(console)
        return self.answer


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> Runner:
    import pipeline.stages

    stand_in = Runner()
    monkeypatch.setitem(sys.modules, "pipeline.stages.runner", stand_in)
    monkeypatch.setattr(pipeline.stages, "runner", stand_in, raising=False)
    return stand_in


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """task.toml in a folder of its own, which is the current one; its rows are there but never read."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.csv").write_text("text,label\na,b\n")
    path = Path("task.toml")
    path.write_text('[model]\nbase = "pypi:x"\n[data]\ntrain = "train.csv"\n')
    return path
