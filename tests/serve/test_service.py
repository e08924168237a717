"""The service behind every protocol: order, pins, cancellation, deadline, states."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from tiny_swap import make_adapter, make_swap_bundle

from serve.batching.scheduler import Scheduler
from serve.config import ServeConfig
from serve.errors import ClosingError, DeadlineError, InputError, NotFound, TooLarge
from serve.runtime import Runtime
from serve.service import FEW_ADAPTERS, FEW_ROWS, SMALL, Service, StartingError

PATIENCE = 10.0


class Told:
    """Remembers what the service tells of its work."""

    def __init__(self) -> None:
        self.answers: list[tuple[dict[str, int], int]] = []
        self.kinds: list[str] = []

    def answered(self, adapters: Mapping[str, int], tokens: int, queue_seconds: float, compute_seconds: float) -> None:
        assert queue_seconds >= 0
        assert compute_seconds > 0
        self.answers.append((dict(adapters), tokens))

    def failed(self, kind: str) -> None:
        self.kinds.append(kind)


class Gated:
    """A runtime whose batches wait for a gate."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime, self.gate, self.batches = runtime, threading.Event(), 0

    def run(self, tokens: Sequence[Any], pins: Sequence[Any]) -> list[Any]:
        self.batches += 1
        assert self.gate.wait(PATIENCE)
        return self._runtime.run(tokens, pins)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_swap_bundle(tmp_path_factory.mktemp("site") / "site.bundle")


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def runtime(site: Path, tmp_path: Path) -> Iterator[Runtime]:
    with Runtime(site, state=tmp_path / "state") as runtime:
        yield runtime


@pytest.fixture
def gated(runtime: Runtime) -> Gated:
    made = Gated(runtime)
    made.gate.set()
    return made


@pytest.fixture
def service(runtime: Runtime, gated: Gated, told: Told) -> Iterator[Service]:
    with Scheduler(gated, workers=1) as scheduler:
        made = Service(runtime, scheduler, ServeConfig(max_rows=500), metrics=told)
        yield made
        gated.gate.set()
        made.close()


def result(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(work, PATIENCE))


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not true():
            await asyncio.sleep(0.002)


@pytest.mark.parametrize("rows", [["fan"], ["fan", "the pump", ""], ["fan"] * (FEW_ROWS + 1), ["line"] * (SMALL // 2)])
def test_answers_come_in_order_small_or_large(service: Service, runtime: Runtime, rows: list[str]) -> None:
    rows = rows[:500]
    refs = [("alpha", "beta@1", None)[place % 3] for place in range(len(rows))]
    answers = result(service.answer(rows, refs))
    expected = runtime.predict(rows, refs)
    assert [answer.adapter for answer in answers] == [answer.adapter for answer in expected]
    assert [answer.score for answer in answers] == pytest.approx([answer.score for answer in expected], abs=1e-6)


def test_what_was_answered_is_told(service: Service, told: Told) -> None:
    result(service.answer(["fan", "the pump"], ["beta", "alpha"]))
    assert told.answers == [({"beta@1": 1, "alpha@1": 1}, 3 + 4)]
    with pytest.raises(NotFound):
        result(service.answer(["fan"], ["nobody"]))
    assert told.kinds == ["not_found"]


def test_many_adapters_are_found_off_the_event_loop(
    service: Service, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []
    pin = runtime.pin

    def seen(ref: Any = None) -> Any:
        threads.append(threading.current_thread() is threading.main_thread())
        return pin("alpha")

    monkeypatch.setattr(runtime, "pin", seen)
    result(service.answer(["fan"], ["a"]))
    refs = [f"a{place}" for place in range(FEW_ADAPTERS + 1)]
    result(service.answer(["fan"] * len(refs), refs))
    result(service.answer(["fan " * SMALL], ["a"]))
    assert threads == [True] + [False] * (len(refs) + 1)


def test_a_request_ends_on_the_version_it_began_with(
    service: Service, runtime: Runtime, gated: Gated, tmp_path: Path
) -> None:
    runtime.add(make_adapter(tmp_path / "one", 3), "task")

    async def swapped() -> Any:
        gated.gate.clear()
        asked = asyncio.create_task(service.answer(["fan"], ["task"]))
        await until(lambda: gated.batches == 1)
        await service.call(runtime.add, make_adapter(tmp_path / "two", 4), "task")
        gated.gate.set()
        return await asked, await service.answer(["fan"], ["task"])

    (before,), (after,) = result(swapped())
    assert (before.adapter, after.adapter) == ("task@1", "task@2")
    assert before.score != after.score


@pytest.mark.parametrize(
    ("rows", "refs", "kind"),
    [
        ([], [], InputError),
        (["a"], [], InputError),
        (["a"] * 501, [None] * 501, TooLarge),
        (["a" * 1_000_001], [None], TooLarge),
        ([("a", "b")], [None], InputError),
        (["\ud800"], [None], InputError),
    ],
)
def test_what_is_over_a_limit_or_no_row_is_refused(
    service: Service, told: Told, rows: list[Any], refs: list[Any], kind: type[Exception]
) -> None:
    with pytest.raises(kind):
        result(service.answer(rows, refs))
    assert len(told.kinds) == 1


def test_a_wrong_row_is_told_by_its_number(service: Service) -> None:
    with pytest.raises(InputError, match=r"^row 2: adapter alpha@1 takes one text"):
        result(service.answer(["a", ("b", "c")], [None, None]))


def test_cancelling_takes_the_rows_out_of_the_queue(service: Service, gated: Gated) -> None:
    async def cancelled() -> None:
        gated.gate.clear()
        running = asyncio.create_task(service.answer(["fan"], [None]))
        await until(lambda: gated.batches == 1)
        waiting = asyncio.create_task(service.answer(["fan"] * 5, [None] * 5))
        await until(lambda: service.waiting == 5)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert service.waiting == 0
        gated.gate.set()
        await running

    result(cancelled())
    assert gated.batches == 1


@pytest.mark.parametrize("computing", [True, False])
def test_a_deadline_ends_the_wait_in_the_queue_and_in_a_run(
    service: Service, gated: Gated, told: Told, computing: bool
) -> None:
    async def late() -> None:
        gated.gate.clear()
        running = asyncio.create_task(service.answer(["fan"], [None]))
        if not computing:
            await until(lambda: gated.batches == 1)
            with pytest.raises(DeadlineError):
                await service.answer(["pump"], [None], 0.03)
            assert service.waiting == 0
        else:
            running.cancel()
            with pytest.raises(DeadlineError, match="no answer within 30 ms"):
                await service.answer(["pump"], [None], 0.03)
        gated.gate.set()
        await asyncio.gather(running, return_exceptions=True)

    result(late())
    assert told.kinds == ["deadline"]


def test_states_begin_with_starting_and_end_with_draining(runtime: Runtime, gated: Gated) -> None:
    service = Service(None, None, ServeConfig())
    assert (service.state, service.loaded, service.waiting) == ("starting", False, 0)
    for refused in (service.admit, lambda: service.runtime):
        with pytest.raises(StartingError, match="loading"):
            refused()
    with Scheduler(gated) as scheduler:
        service.open(runtime, scheduler)
        assert (service.state, service.loaded) == ("ready", True)
        service.admit()
        service.state = "draining"
        with pytest.raises(ClosingError, match="stopping"):
            service.admit()
        assert len(result(service.answer(["fan"], [None]))) == 1, "what was let in is finished"
    service.close()


def test_a_server_told_to_stop_while_it_loads_does_not_become_ready(runtime: Runtime, gated: Gated) -> None:
    service = Service(None, None, ServeConfig())
    service.state = "draining"
    with Scheduler(gated) as scheduler:
        service.open(runtime, scheduler)
    assert service.state == "draining"
    service.close()
