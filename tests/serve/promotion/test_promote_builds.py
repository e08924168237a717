"""Sessions are built in the background: builds that fail, are overtaken or closed, and switching under load."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from promote_stage import Stage, names

import serve.promotion.promote
from serve.errors import ClosingError
from serve.promotion.promote import Event, Promoter
from serve.promotion.promoted import PromotedSession


def test_a_build_that_fails_is_told_once_and_the_swappable_graph_goes_on(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    wild = dataclasses.replace(stage.adapters[0], sigma=np.full(24, 3e38, dtype=np.float32))
    promoter = stage.promoter(["a", "b"])
    for _ in range(3):
        promoter.saw("a", wild, 10)
        assert names(promoter) == []
    (event,) = stage.events
    assert (event.kind, event.name) == ("failed", "a")
    assert "holds NaN or infinities with this adapter folded in" in event.reason
    assert "\n" not in event.reason
    assert [record.getMessage() for record in caplog.records] == [
        f"adapter a: not promoted, the shared graph answers ({event.reason})"
    ]
    assert promoter.session_for(wild) is None
    promoter.saw("a", stage.adapters[1], 1)  # a version that is better
    promoter.saw("b", stage.adapters[2], 1)
    assert names(promoter) == ["a", "b"]


def test_whatever_a_build_or_a_listener_raises_the_thread_goes_on(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*given: Any, **options: Any) -> PromotedSession:
        raise MemoryError

    def raising(event: Event) -> None:
        told.append(event.reason)
        raise RuntimeError("a listener's own")

    told: list[str] = []
    promoter = stage.promoter(["a", "b"])
    monkeypatch.setattr(promoter, "_on_event", raising)
    with monkeypatch.context() as patch:
        patch.setattr(serve.promotion.promote, "PromotedSession", broken)
        promoter.saw("a", stage.adapters[0], 1)
        assert names(promoter) == []
    promoter.saw("b", stage.adapters[1], 1)
    assert names(promoter) == ["b"]
    assert told == ["MemoryError", ""]
    assert caplog.text.count("the listener for promotions failed") == 2


def _held(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """Builds wait for the second event, and set the first when they do."""
    began, go = threading.Event(), threading.Event()

    def slow(*given: Any, **options: Any) -> PromotedSession:
        began.set()
        assert go.wait(30)
        return PromotedSession(*given, **options)

    monkeypatch.setattr(serve.promotion.promote, "PromotedSession", slow)
    return began, go


@pytest.mark.parametrize("act", [lambda p: p.demote("a"), lambda p: p.forget("a"), lambda p: p.rename("a", "z")])
def test_what_is_demoted_while_it_is_built_does_not_appear(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, act: Callable[[Promoter], None]
) -> None:
    promoter = stage.promoter()
    began, go = _held(stage, monkeypatch)
    promoter.promote("a", stage.adapters[0])
    assert began.wait(30)
    act(promoter)
    go.set()
    promoter.promote("b", stage.adapters[1])
    assert names(promoter) == ["b"]


def test_the_version_asked_for_last_is_the_one_that_is_promoted(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    promoter = stage.promoter()
    began, go = _held(stage, monkeypatch)
    promoter.promote("a", stage.adapters[0])
    assert began.wait(30)
    promoter.promote("a", stage.adapters[1])
    go.set()
    assert names(promoter) == ["a"]
    assert promoter.session_for(stage.adapters[0]) is None
    assert promoter.session_for(stage.adapters[1]) is not None


def test_close_finishes_what_is_begun_joins_its_thread_and_lets_go(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    promoter = stage.promoter()
    promoter.promote("b", stage.adapters[1])
    names(promoter)
    began, go = _held(stage, monkeypatch)
    promoter.promote("a", stage.adapters[0])
    assert began.wait(30)
    threading.Timer(0.05, go.set).start()
    promoter.close()
    promoter.close()
    assert not any(thread.name == "svfit-promote" for thread in threading.enumerate())
    assert promoter.promoted() == []
    assert promoter.session_for(stage.adapters[1]) is None
    promoter.saw("a", stage.adapters[0], 1000)
    with pytest.raises(ClosingError):
        promoter.promote("a", stage.adapters[0])


def test_answers_stay_right_while_sessions_come_and_go_under_load(stage: Stage) -> None:
    promoter = stage.promoter("auto", slots=2)
    wanted = [stage.expected(seed) for seed in range(6)]
    wrong: list[float] = []
    used = [0, 0]  # rows by the swappable graph, rows by promoted sessions
    stop = threading.Event()

    def asking(seed: int) -> None:
        rng = np.random.default_rng(seed)
        while not stop.is_set():
            which = int(rng.integers(6))
            adapter = stage.load(which) if rng.random() < 0.1 else stage.adapters[which]
            promoter.saw(f"a{which}", adapter, 4)
            backbone = promoter.session_for(adapter)
            used[backbone is not None] += 4
            rows = np.stack(stage.engine.run(stage.tokens, [adapter] * 4, backbone))
            wrong.append(float(np.abs(rows - wanted[which]).max()))

    threads = [threading.Thread(target=asking, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for turn in range(40):
        name, adapter = f"a{turn % 6}", stage.adapters[turn % 6]
        promoter.demote(name)
        promoter.saw(name, adapter, 1)
        promoter.demote(f"a{(turn + 3) % 6}")
        promoter.promote(name, adapter)
        assert promoter.settle(30)
        assert len(promoter.promoted()) <= 2
        promoter.demote(name)
        promoter.forget(f"a{(turn + 1) % 6}")
    stop.set()
    for thread in threads:
        thread.join()
    assert len(wrong) > 100
    assert max(wrong) < 1e-4
    assert min(used) > 0
    assert not any(event.kind == "failed" for event in stage.events)
