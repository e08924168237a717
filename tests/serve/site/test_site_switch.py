"""The switch of a running service: who answers what, what is lost (nothing), and what is let go of."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tiny_swap import make_adapter, make_swap_bundle
from tune_stage import profile_of

from serve.batching.scheduler import Scheduler
from serve.bundle import Bundle
from serve.config import ServeConfig
from serve.delivery.archive import pack
from serve.errors import BusyError, Conflict, InputError, SvfitError
from serve.profile import beside, find
from serve.runtime import Runtime
from serve.service import Service
from serve.settings import Settings
from serve.site import switch as switching
from serve.site.install import first_release
from serve.site.store import Site
from serve.site.switch import Switch, Switched

PATIENCE = 20.0


class Gated:
    """A runtime whose batches wait while its gate is shut."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime, self.gate, self.batches = runtime, threading.Event(), 0
        self.gate.set()

    def run(self, tokens: Sequence[Any], pins: Sequence[Any]) -> list[Any]:
        self.batches += 1
        assert self.gate.wait(PATIENCE)
        return self.runtime.run(tokens, pins)


class Desk:
    """A service on a site; `made` are the runtimes, as they were loaded."""

    def __init__(self, folder: Path, bundle: Path, **settings: Any) -> None:
        config = ServeConfig(site=folder, **settings)
        self.made: list[Gated] = []
        self.told: list[str] = []
        self.before_load: Callable[[], None] = lambda: None
        self.site = Site(folder, config.site_keep)
        entry = first_release(self.site, bundle, ())
        runtime, scheduler = self.load(Bundle.open(self.site.place(entry.release)), self.site.state(entry))
        self.service = Service(runtime, scheduler, config)
        self.switch = Switch(self.site, self.service, self.load, lambda event, *_, **__: self.told.append(event))

    def load(self, bundle: Bundle, state: Path) -> tuple[Runtime, Scheduler]:
        self.before_load()
        gated = Gated(Runtime(bundle, state=state, threads=1))
        self.made.append(gated)
        return gated.runtime, Scheduler(gated, workers=1)

    async def close(self) -> None:
        await self.switch.close()
        self.service.close()
        parts = self.service.parts
        assert parts is not None
        parts.close()


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bundles")
    made = {
        "one": make_swap_bundle(folder / "one"),
        "two": make_swap_bundle(folder / "two", (("alpha", 5), ("beta", 2))),
    }
    for path in made.values():
        pack(path, path.with_suffix(".zip"))
    return made


@pytest.fixture
def run(tmp_path: Path, bundles: dict[str, Path]) -> Iterator[Callable[..., Any]]:
    def run(script: Callable[[Desk], Awaitable[Any]], **settings: Any) -> Any:
        async def scripted() -> Any:
            desk = Desk(tmp_path / "site", bundles["one"], **settings)
            try:
                async with asyncio.timeout(PATIENCE):
                    return await script(desk)
            finally:
                for gated in desk.made:
                    gated.gate.set()
                await desk.close()

        return asyncio.run(scripted())

    yield run


async def push(desk: Desk, bundle: Path, tmp_path: Path, name: str = "sent.zip") -> Switched:
    archive = tmp_path / name
    archive.write_bytes(bundle.with_suffix(".zip").read_bytes())
    try:
        return await desk.switch.install(archive)
    finally:
        assert not archive.exists()


async def until(true: Callable[[], bool]) -> None:
    while not true():
        await asyncio.sleep(0.002)


async def score(desk: Desk, ref: str | None = None) -> float:
    (answer,) = await desk.service.answer(["the pump is leaking"], [ref])
    assert answer.score is not None
    return round(answer.score, 5)


def test_a_request_ends_with_the_release_it_began_with_which_is_closed_then(
    run: Any, bundles: dict[str, Path], tmp_path: Path
) -> None:
    async def script(desk: Desk) -> None:
        first = await score(desk)
        old = weakref.ref(desk.made[0].runtime)
        desk.made[0].gate.clear()
        asked = asyncio.create_task(score(desk))
        await until(lambda: desk.made[0].batches == 2)
        assert (await push(desk, bundles["two"], tmp_path)).changed
        second = await score(desk)
        assert second != first
        assert desk.site.place(Bundle.open(bundles["one"]).manifest.manifest_sha256).is_dir(), "it is in use"
        desk.made[0].gate.set()
        assert await asked == first
        desk.made[0].runtime = desk.made[1].runtime  # the test's own hold on it
        await until(lambda: not desk.switch._tasks)
        gc.collect()
        assert old() is None, "its memory is given back"
        kept = [path.name for path in (desk.site.folder / "releases").iterdir()]
        assert kept == [Bundle.open(bundles["two"]).manifest.manifest_sha256]

    run(script, site_keep=1)


def test_no_adapter_is_lost_that_is_added_while_a_release_is_switched_to(
    run: Any, bundles: dict[str, Path], tmp_path: Path
) -> None:
    sources = [make_adapter(tmp_path / f"a{number}", number) for number in range(12)]

    async def script(desk: Desk) -> None:
        async def adding() -> None:
            for number, source in enumerate(sources):
                await desk.service.at_runtime(lambda runtime, s=source, n=number: runtime.add(s, f"later-{n}"))
                await asyncio.sleep(0.01)

        task = asyncio.create_task(adding())
        for place in range(3):
            await push(desk, bundles["two" if place % 2 == 0 else "one"], tmp_path)
        await task
        names = await desk.service.at_runtime(lambda runtime: [info.name for info in runtime.list()])
        assert {f"later-{number}" for number in range(12)} <= set(names)
        for name in names:
            await score(desk, name)

    run(script)


@pytest.mark.parametrize("step", ["load", "commit", "check"])
def test_whatever_fails_the_old_one_goes_on_and_the_new_one_is_removed(
    run: Any, bundles: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def fails(*_: Any, **__: Any) -> Any:
        raise SvfitError("the disk is gone") if step == "commit" else InputError("it can't be")

    async def script(desk: Desk) -> None:
        first, history = await score(desk), desk.switch.history
        if step == "load":
            desk.before_load = fails
        elif step == "commit":
            monkeypatch.setattr(desk.site, "install", fails)
        else:
            monkeypatch.setattr(switching, "verify", fails)
        with pytest.raises(SvfitError, match=f"release {history.entries[0].release[:12]} goes on answering"):
            await push(desk, bundles["two"], tmp_path)
        assert await score(desk) == first
        assert desk.switch.history == history
        assert len(list((desk.site.folder / "releases").iterdir())) == 1
        assert not any((desk.site.folder / "states").iterdir())
        assert desk.told == ["refused a release"]
        desk.before_load = lambda: None
        monkeypatch.undo()
        assert (await push(desk, bundles["two"], tmp_path)).changed

    run(script)


def test_one_at_a_time_and_an_install_goes_on_where_its_caller_leaves(
    run: Any, bundles: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(switching, "WAIT_SECONDS", 0.05)
    loading, go = threading.Event(), threading.Event()

    def slowly() -> None:
        loading.set()
        assert go.wait(PATIENCE)

    async def script(desk: Desk) -> None:
        first = await score(desk)
        desk.before_load = slowly
        archive = tmp_path / "one.zip"
        archive.write_bytes(bundles["two"].with_suffix(".zip").read_bytes())
        task = asyncio.create_task(desk.switch.install(archive))
        await until(loading.is_set)
        with pytest.raises(BusyError, match="another release is on its way"):
            await push(desk, bundles["two"], tmp_path)
        with pytest.raises(BusyError):
            await desk.switch.roll_back()
        assert await score(desk) == first, "it answers meanwhile"
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go.set()
        await until(lambda: desk.switch.history.current == 0 and len(desk.switch.history.entries) == 2)
        await until(lambda: not desk.switch._tasks)
        assert await score(desk) != first

    run(script)


def test_what_tune_found_goes_along_where_the_graphs_are_the_same(
    run: Any, bundles: dict[str, Path], tmp_path: Path
) -> None:
    async def script(desk: Desk) -> None:
        first = desk.made[0].runtime.bundle
        tuned = profile_of(first, "fp32", Settings(1, arena=False))
        tuned.write(beside(first.path))
        releases, there = first.path.parent, []
        desk.before_load = lambda: there.extend(sorted(releases.glob("*.device.json")))
        switched = await push(desk, bundles["two"], tmp_path)
        second = Bundle.open(desk.site.place(switched.current.release))
        assert there == sorted([beside(first.path), beside(second.path)]), "before the release is loaded"
        assert find(second).profile == tuned

    run(script)


def test_a_rollback_brings_the_adapters_back_that_the_release_had(
    run: Any, bundles: dict[str, Path], tmp_path: Path
) -> None:
    source = make_adapter(tmp_path / "later", 11)

    async def names(desk: Desk) -> list[str]:
        return await desk.service.at_runtime(lambda runtime: [info.name for info in runtime.list()])

    async def script(desk: Desk) -> None:
        await desk.service.at_runtime(lambda runtime: runtime.add(source, "first"))
        switched = await push(desk, bundles["two"], tmp_path)
        assert switched.remark == "1 adapter version that came later came along"
        await desk.service.at_runtime(lambda runtime: runtime.add(source, "second"))
        assert await names(desk) == ["alpha", "beta", "first", "second"]
        back = await desk.switch.roll_back()
        assert (back.current, back.before) == (switched.before, switched.current)
        assert await names(desk) == ["alpha", "beta", "first"]
        with pytest.raises(Conflict, match="goes on answering"):
            await desk.switch.roll_back()

    run(script)
