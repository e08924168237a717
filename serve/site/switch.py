"""The site of a running server: a release is brought, loaded and checked beside the one that answers, then it answers.

Requests that began with the release before end with it. If anything fails, nothing has changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from serve import profile
from serve.batching.scheduler import Scheduler
from serve.bundle import Bundle
from serve.config import ServeConfig
from serve.delivery import archive as archives
from serve.delivery.signature import open_trusted
from serve.errors import BusyError, InputError, SvfitError
from serve.machine import give_back_memory
from serve.runtime import Runtime
from serve.service import Parts, Service
from serve.site.history import Entry, History
from serve.site.install import begin_to_carry, bring_archive, carry_along
from serve.site.store import Site
from serve.verify import verify

CLOSE_SECONDS = 5.0
WAIT_SECONDS = 2.0  # for another change of the site; one that takes longer is an install
BUSY_SECONDS = 5.0  # told to whoever comes meanwhile
T = TypeVar("T")
Load = Callable[[Bundle, Path], tuple[Runtime, Scheduler]]
"""A bundle, opened and checked, and the folder of its later adapters, to what answers."""
Tell = Callable[..., None]
"""A line of the log: a message, and what it is about by keyword."""


@dataclass(frozen=True, slots=True)
class Switched:
    """What became of a push or a rollback: the release that answers now, and the one before.

    `changed` is False where that release answered already; `remark` says what became of adapters that came later.
    """

    current: Entry
    before: Entry
    changed: bool
    remark: str = ""


class Switch:
    """Changes what a service answers with, one release at a time. Its methods belong to the event loop's thread."""

    def __init__(self, site: Site, service: Service, load: Load, tell: Tell) -> None:
        """The service answers with the site's current release."""
        self._site, self._service, self._load, self._tell = site, service, load, tell
        self._config: ServeConfig = service.config
        self._busy = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._leaving: list[Entry] = []  # requests are still at work with these

    @property
    def history(self) -> History:
        """The site's releases now."""
        return self._site.history

    @property
    def incoming(self) -> Path:
        """Where large bodies are put."""
        return self._site.incoming

    async def files(self) -> list[str]:
        """The sha256 of every file that the site's releases have, sorted."""
        return sorted(await asyncio.to_thread(self._site.files))

    async def install(self, archive: Path) -> Switched:
        """Make an archive, whole or a delta, the current release; the file is removed in any case.

        It goes on where the caller is cancelled. Raises BusyError while another is installed, and InputError,
        TooLarge, SvfitError for whatever is wrong with it; then the release that answered goes on.
        """
        return await self._shielded(self._install(archive))

    async def roll_back(self) -> Switched:
        """Make the release before the current one answer again, with its own adapters.

        Raises Conflict where there is none, and else as `install`.
        """
        return await self._shielded(self._roll_back())

    async def packed(self) -> tuple[BinaryIO, int]:
        """The current release as an archive that is read once, and its size in bytes. Raises BusyError, SvfitError."""
        async with self._alone():
            return await asyncio.to_thread(self._pack)

    async def close(self) -> None:
        """Wait for what is under way, then let go of the site."""
        while self._tasks:
            await asyncio.wait(self._tasks)
        self._site.close()

    async def _shielded(self, work: Coroutine[Any, Any, Switched]) -> Switched:
        return await asyncio.shield(self._begun(work))

    def _begun(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _install(self, archive: Path) -> Switched:
        try:
            async with self._changing():
                return await self._installed(archive)
        except SvfitError as error:
            told = str(error).replace(str(archive), "as sent")
            error.args = (told,)
            self._tell("refused a release", "warning", reason=told)
            raise
        finally:
            await asyncio.to_thread(archive.unlink, missing_ok=True)

    async def _installed(self, archive: Path) -> Switched:
        site, before, trust = self._site, self._current(), self._config.trust
        most = int(self._config.site_max_mb * 2**20)
        bundle = await asyncio.to_thread(bring_archive, site, archive, trust, most)
        if bundle.manifest.manifest_sha256 == before.release:
            return Switched(before, before, changed=False)
        entry = site.entry(bundle)

        def commit() -> str:
            remark = carry_along(site, before, entry)
            site.install(entry)
            return remark

        await asyncio.to_thread(profile.keep, site.place(before.release), bundle)
        await asyncio.to_thread(begin_to_carry, site, before, entry)
        remark = await self._answer_with(bundle, entry, commit)
        return self._told("installed", Switched(entry, before, changed=True, remark=remark))

    async def _roll_back(self) -> Switched:
        async with self._changing():
            site, before = self._site, self._current()
            history = site.history.rolled_back()
            entry = history.entries[history.current]
            bundle = await asyncio.to_thread(open_trusted, site.place(entry.release), self._config.trust)
            await self._answer_with(bundle, entry, site.roll_back)
            return self._told("rolled back", Switched(entry, before, changed=True))

    async def _answer_with(self, bundle: Bundle, entry: Entry, commit: Callable[[], T]) -> T:
        """Load a release, hold it to its own samples, and let it answer once `commit` has returned; what that gave."""
        before, given = self._current(), list[T]()

        def loaded() -> tuple[Runtime, Scheduler]:
            verify(bundle, threads=self._config.threads).require()
            return self._load(bundle, self._site.state(entry))

        runtime, scheduler = await asyncio.to_thread(loaded)
        try:
            old = await self._service.replace(runtime, scheduler, lambda: given.append(commit()))
        except BaseException:
            await asyncio.to_thread(Parts(runtime, scheduler).close, CLOSE_SECONDS)
            raise
        self._leaving.append(before)
        self._begun(self._retire(old, before))
        return given[0]

    async def _retire(self, old: Parts, entry: Entry) -> None:
        """Close what answered before once its last request has ended, then remove releases that are too old."""
        await old.free()
        await asyncio.to_thread(old.close, CLOSE_SECONDS)
        del old
        give_back_memory()
        async with self._busy:
            self._leaving.remove(entry)
            await asyncio.to_thread(self._site.sweep, self._leaving)

    @contextlib.asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await self._busy.acquire()
        except TimeoutError:
            raise BusyError("another release is on its way; try again in a moment", BUSY_SECONDS) from None
        try:
            yield
        finally:
            self._busy.release()

    @contextlib.asynccontextmanager
    async def _changing(self) -> AsyncIterator[None]:
        """Alone; and where it fails, what was brought is removed, and the error says that nothing changed."""
        async with self._alone():
            try:
                yield
            except BaseException as error:
                await asyncio.to_thread(self._site.sweep, self._leaving)
                if not isinstance(error, SvfitError):
                    raise
                message = f"{error}; release {self._current().release[:12]} goes on answering"
                if error.kind in ("gate", "usage"):  # of what was sent, not of this server
                    raise InputError(message) from error
                error.args = (message,)
                raise

    def _told(self, event: str, switched: Switched) -> Switched:
        remark = {"remark": switched.remark} if switched.remark else {}
        self._tell(event, release=switched.current.release, before=switched.before.release, **remark)
        return switched

    def _current(self) -> Entry:
        entry = self._site.history.now
        if entry is None:
            raise SvfitError("the site has no release")
        return entry

    def _pack(self) -> tuple[BinaryIO, int]:
        room = self._site.room()
        try:
            packed = archives.pack(self._site.place(self._current().release), room / "archive")
            return packed.path.open("rb"), packed.bytes
        finally:
            shutil.rmtree(room, ignore_errors=True)
