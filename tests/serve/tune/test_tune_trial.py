from __future__ import annotations

import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tiny_bundle import reseal
from tiny_swap import make_swap_bundle
from tune_stage import FakeMachine

from pipeline.tasks import words
from serve.bundle import Bundle
from serve.errors import GateError, UnmetError, UsageError
from serve.profile import Profile, find
from serve.settings import Settings
from serve.tune import child, memory
from serve.tune.candidate import Candidate, Measured
from serve.tune.choice import Wishes
from serve.tune.trial import METRICS, Trials, accuracy_of
from serve.tune.tune import tune
from serve.tune.waiting import Waiting

ONE = Candidate("fp32", Settings(1))
MB = 2**20


def same(candidate: Candidate) -> tuple[float, float, float]:
    return (5.0 if candidate.variant == "fp32" else 4.0), 100.0, 1.0


def weighed(bundle: Bundle, batch: int = 16) -> Trials:
    """As if the server's own memory had been measured before, which takes the most time."""
    trials = Trials(bundle, batch)
    trials._server = {"resident": 1000 * MB, "own": 1000 * MB}
    return trials


def test_a_candidate_is_measured_in_a_process_of_its_own(bundle_path: Path) -> None:
    before = sorted(path.name for path in bundle_path.iterdir())
    held = bytearray(400 * MB)
    trials = Trials(Bundle.open(bundle_path), batch=4)
    found = trials(ONE, 0.1)
    assert len(held) == 400 * MB
    assert found.problem == ""
    assert found.candidate == ONE
    assert len(found.single_ms) >= 10
    assert 0 < found.p50_ms <= found.p99_ms
    assert found.rows_per_second > 0
    assert found.cpu_ms > 0
    assert found.max_abs <= 1e-4
    assert sorted(path.name for path in bundle_path.iterdir()) == before
    if sys.platform == "linux":
        server = trials._server
        assert server is not None
        assert found.own is not None
        assert found.resident is not None
        assert found.peak is not None
        assert server["resident"] is not None
        assert 5 * MB < server["resident"] < 100 * MB
        assert 20 * MB < found.own < found.resident <= found.peak < 300 * MB  # not what this process holds


def test_a_swappable_bundle_is_measured_by_its_first_adapter(tmp_path: Path) -> None:
    found = weighed(Bundle.open(make_swap_bundle(tmp_path / "bundle")))(ONE, 0.1)
    assert found.problem == ""
    assert found.p50_ms > 0
    if sys.platform == "linux":
        assert found.peak is not None
        assert 1020 * MB < found.peak < 1300 * MB


def test_a_variant_that_answers_otherwise_here_is_out(bundle_path: Path) -> None:
    path = bundle_path / "samples.json"
    samples = json.loads(path.read_text())
    samples["outputs"]["int8"][0][0] += 1.0
    path.write_text(json.dumps(samples))
    reseal(bundle_path)
    bundle = Bundle.open(bundle_path)
    found = Trials(bundle)(Candidate("int8", Settings(1)), 0.1)
    assert found.problem.startswith("answers otherwise here: differs by 1, allowed 0.")
    assert found.single_ms == ()


def test_a_variant_that_can_not_be_loaded_is_out_with_the_reason(bundle_path: Path) -> None:
    (bundle_path / "variants" / "int8" / "model.onnx").write_bytes(b"no graph")
    reseal(bundle_path)
    found = Trials(Bundle.open(bundle_path))(Candidate("int8", Settings(1)), 0.1)
    assert "onnxruntime" in found.problem
    assert "can't load it" in found.problem
    assert "\n" not in found.problem


def test_a_process_that_is_killed_or_hangs_is_out(bundle_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trials = Trials(Bundle.open(bundle_path))
    for script, told in (
        ("kill -9 $$", "ended by SIGKILL; is there enough memory?"),
        ("exit 3", "ended with code 3"),
        ("sleep 20", "took more than 0 s"),
    ):
        python = bundle_path.parent / "python"
        python.write_text(f"#!/bin/sh\n{'exec ' if 'sleep' in script else ''}{script}\n")
        python.chmod(0o755)
        monkeypatch.setattr("serve.tune.trial.sys.executable", str(python))
        monkeypatch.setattr("serve.tune.trial.PATIENCE", 0.2 if "sleep" in script else 20.0)
        assert told in trials(ONE, 0.0).problem


def test_a_folder_that_looks_like_ours_is_not_run(
    bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "serve").mkdir()
    (tmp_path / "serve" / "__init__.py").write_text("raise SystemExit('not ours')\n")
    bundle = Bundle.open(bundle_path)
    monkeypatch.chdir(tmp_path)
    assert weighed(bundle)(ONE, 0.0).problem == ""


def test_tune_gives_a_profile_that_is_found_again(bundle_path: Path) -> None:
    bundle = Bundle.open(bundle_path)
    tuned = tune(bundle, Wishes(max_ms=100), measuring=FakeMachine(same))
    profile = tuned.profile()
    assert profile.variant == "int8"
    assert profile.wishes == {"max_ms": 100}
    assert profile.measured["p50_ms"] == 4.0
    path = bundle_path.parent / "x.json"
    profile.write(path)
    assert find(bundle, path).profile == profile == Profile.read(path)


def test_a_wish_that_can_not_be_kept_names_the_nearest(bundle_path: Path) -> None:
    tuned = tune(Bundle.open(bundle_path), Wishes(max_ms=4), measuring=FakeMachine(same))
    assert tuned.chosen is None
    with pytest.raises(UnmetError, match=r"the nearest is int8, .*: p99 4.80 ms \(wished: 4\)$"):
        tuned.require()
    with pytest.raises(UnmetError):
        tuned.profile()


def test_a_refusal_says_where_the_time_was_short(bundle_path: Path) -> None:
    machine = FakeMachine(same)

    def slow(candidate: Candidate, seconds: float) -> Measured:
        time.sleep(0.4)
        return machine(candidate, seconds)

    tuned = tune(Bundle.open(bundle_path), Wishes(max_ms=4), seconds=1, measuring=slow)
    with pytest.raises(UnmetError, match=r"nothing of 2 tried keeps every wish.*; more was worth trying, give more"):
        tuned.require()


def test_where_no_variant_can_be_used_the_gate_is_closed(bundle_path: Path) -> None:
    machine = FakeMachine(same, broken={"fp32": "can't load", "int8": "answers otherwise"})
    with pytest.raises(GateError, match=r"no variant can be used here: fp32.*can't load; int8.*answers otherwise"):
        tune(Bundle.open(bundle_path), Wishes(), measuring=machine).require()


def test_accuracy_can_not_be_wished_where_the_bundle_tells_none(bundle_path: Path) -> None:
    with pytest.raises(UsageError, match="the bundle tells no accuracy of fp32, int8; leave it out"):
        tune(Bundle.open(bundle_path), Wishes(min_accuracy=0.5), measuring=FakeMachine(same))


@pytest.mark.parametrize(
    ("metrics", "wanted"),
    [
        ({"test": {"accuracy": 0.8}, "validation": {"accuracy": 0.9}}, ("accuracy", 0.8)),
        ({"validation": {"accuracy": 0.9}}, ("accuracy", 0.9)),
        ({"accuracy": 1}, ("accuracy", 1.0)),
        ({"test": {"entity_precision": 0.9, "entity_f1": 0.8}}, ("entity_f1", 0.8)),
        ({"test": {"mrr_at_10": 0.7, "recall_at_1": 0.6}}, ("mrr_at_10", 0.7)),
        ({"test": {"loss": 0.1}}, None),
    ],
)
def test_accuracy_is_what_the_task_is_judged_by_on_test_rows_where_there_are_such(
    bundle_path: Path, metrics: dict[str, Any], wanted: tuple[str, float] | None
) -> None:
    variants = json.loads((bundle_path / "manifest.json").read_text())["variants"]
    reseal(bundle_path, variants=[{**variant, "metrics": metrics} for variant in variants])
    assert accuracy_of(Bundle.open(bundle_path), "int8") == wanted


def test_what_decides_is_what_training_is_judged_by() -> None:
    headlines = {words.headline(task) for task in words.METRICS} | {
        words.headline("text-embedding", metrics=kind) for kind in words.PAIRS.values()
    }
    assert headlines == set(METRICS)


def test_senseless_seconds_are_a_usage_error(bundle_path: Path) -> None:
    with pytest.raises(UsageError, match="seconds must be of 1 to 3600"):
        tune(Bundle.open(bundle_path), Wishes(), seconds=0, measuring=FakeMachine(same))


def test_waiting_is_read_as_the_kernel_writes_it_and_stands_still_where_it_is_not_told(tmp_path: Path) -> None:
    told, quota = tmp_path / "schedstat", tmp_path / "cpu.max"
    assert Waiting(told, quota).ms() == 0
    told.write_text("123 2500000 7\n")
    quota.write_text("max 100000\n")
    assert Waiting(told, quota).ms() == 2.5
    quota.write_text("50000 100000\n")  # a limit of its own is no neighbour
    assert Waiting(told, quota).ms() == 0


def test_times_are_less_what_was_waited(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slept:
        """Half of what goes by."""

        def ms(self) -> float:
            return 500 * time.perf_counter()

    monkeypatch.setattr(child, "Waiting", Slept)
    found, waited = child._timed(lambda: time.sleep(0.002), 0.02, 3)
    assert len(found) >= 3
    assert waited == pytest.approx(sum(found), rel=0.2)


def test_a_busy_machine_is_told(bundle_path: Path) -> None:
    machine = FakeMachine(same)

    def measuring(candidate: Candidate, seconds: float) -> Measured:
        return dataclasses.replace(machine(candidate, seconds), waited=0.4)

    (remark,) = tune(Bundle.open(bundle_path), Wishes(), measuring=measuring).remarks
    assert "the machine was busy: 40% of the time" in remark
    assert tune(Bundle.open(bundle_path), Wishes(), measuring=machine).remarks == ()


def test_memory_is_read_as_the_kernel_writes_it() -> None:
    rollup = "55d0-7ffc ---p 00000000 00:00 0 [rollup]\nRss:     1024 kB\nPss:   800 kB\nAnonymous:  512 kB\n"
    assert memory.resident(rollup) == memory.Resident(MB, MB // 2)
    assert memory.resident("") == memory.Resident(None, None)
    if sys.platform == "linux":
        assert memory.peak("VmPeak: 9 kB\nVmHWM:\t  2048 kB\n") == 2 * MB
        assert memory.peak("") is None
