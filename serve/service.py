"""What every protocol asks: rows in, answers out, within limits and a deadline; and whether the server is ready.

The HTTP and gRPC doors share one `Service`; it knows neither.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, ParamSpec, Protocol, TypeVar

from serve.access import Access
from serve.adapters.listing import Pinned
from serve.answers import Answer
from serve.batching.scheduler import Scheduler
from serve.changes import Changes
from serve.config import ServeConfig
from serve.errors import ClosingError, DeadlineError, InputError, SvfitError, TooLarge
from serve.images.decode import read_header
from serve.pieces import Prepared, Row, length
from serve.runtime import Runtime

if TYPE_CHECKING:
    from serve.site.switch import Switch

State = Literal["starting", "ready", "draining"]
SMALL = 4096  # characters of a request that are tokenized at once, without a thread: some tenths of a millisecond
FEW_ADAPTERS = 8  # found at once; each may have to be read from disk, which takes about a millisecond
FEW_ROWS = 64  # made into answers at once
P = ParamSpec("P")
T = TypeVar("T")


class StartingError(ClosingError):
    """The model is still loading."""


class Metrics(Protocol):
    """What the service tells of its work; `serve.http.metrics` keeps it for Prometheus."""

    def answered(self, adapters: Mapping[str, int], tokens: int, queue_seconds: float, compute_seconds: float) -> None:
        """A request was answered: its rows by adapter (name@version), its tokens, and where its time went."""

    def failed(self, kind: str) -> None:
        """A request failed, by the error's kind."""


class NoMetrics:
    """Tells nobody."""

    def answered(self, adapters: Mapping[str, int], tokens: int, queue_seconds: float, compute_seconds: float) -> None:
        return

    def failed(self, kind: str) -> None:
        return


class Parts:
    """A runtime, its scheduler, and how many requests are at work with them."""

    def __init__(self, runtime: Runtime, scheduler: Scheduler) -> None:
        self.runtime, self.scheduler = runtime, scheduler
        self._users, self._free = 0, asyncio.Event()
        self._free.set()

    @contextmanager
    def used(self) -> Iterator[tuple[Runtime, Scheduler]]:
        """Hold on to both for a request. Of the event loop's thread, as is `free`."""
        self._users += 1
        self._free.clear()
        try:
            yield self.runtime, self.scheduler
        finally:
            self._users -= 1
            if not self._users:
                self._free.set()

    async def free(self) -> None:
        """Wait until no request is at work with them."""
        await self._free.wait()

    def close(self, timeout: float | None = None) -> None:
        """Stop the workers, waiting up to `timeout` seconds for their runs, and let go of the runtime."""
        self.scheduler.close(timeout)
        self.runtime.close()


class Service:
    """A runtime and its scheduler behind limits. `state` is "starting" until it has both, then "ready", "draining".

    `runtime` and `scheduler` may come later, by `open`, and others may take their place, by `replace`, which `site`
    does where the server has one. All methods belong to the event loop's thread.
    """

    def __init__(
        self,
        runtime: Runtime | None,
        scheduler: Scheduler | None,
        config: ServeConfig,
        *,
        access: Access | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self.config = config
        self.access = access or Access()
        self.metrics: Metrics = metrics or NoMetrics()
        self.site: Switch | None = None
        self.state: State = "starting"
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="svfit-service")
        self._parts: Parts | None = None
        self._changes = Changes()
        if runtime is not None and scheduler is not None:
            self.open(runtime, scheduler)

    def open(self, runtime: Runtime, scheduler: Scheduler) -> None:
        """Begin to answer with these."""
        self._parts = Parts(runtime, scheduler)
        if self.state == "starting":
            self.state = "ready"

    @property
    def runtime(self) -> Runtime:
        """The runtime. Raises StartingError while it loads."""
        return self._opened().runtime

    @property
    def parts(self) -> Parts | None:
        """What answers now."""
        return self._parts

    @property
    def loaded(self) -> bool:
        """Whether there is a runtime yet."""
        return self._parts is not None

    @property
    def waiting(self) -> int:
        """Rows in the queue."""
        return 0 if self._parts is None else self._parts.scheduler.waiting

    def admit(self) -> None:
        """A door calls this for each new request. Raises StartingError or ClosingError unless the state is ready.

        A request that was let in is finished, also while draining.
        """
        if self.state == "draining":
            raise ClosingError("the server is stopping and takes nothing new; ask another, or try again")
        self._opened()

    async def answer(
        self, rows: Sequence[Row], refs: Sequence[str | None], deadline_seconds: float | None = None
    ) -> list[Answer]:
        """Answers in the order of the rows; `refs` names each row's adapter ("name", "name@3", None: the default).

        `deadline_seconds` from now the caller has no use for the answer; None takes the configured time, and more
        than `max_timeout_ms` is cut to it. Rows of one request that name an adapter alike get the same version of it.
        Cancelling this takes the rows out of the queue.
        Raises InputError (a row, a count), TooLarge, NotFound (an adapter), BusyError, DeadlineError, ClosingError.
        """
        try:
            return await self._answer(rows, refs, self._seconds(deadline_seconds))
        except SvfitError as error:
            self.metrics.failed(error.kind)
            raise

    async def call(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run something that waits for a disk or computes for long (adding an adapter, say) in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: work(*args, **kwargs))

    async def at_runtime(self, work: Callable[[Runtime], T]) -> T:
        """Run something that reads or changes the runtime's adapters, in a thread, and never while `replace` does its
        work: what it changes isn't lost, and the runtime isn't closed meanwhile."""

        def run() -> T:
            with self._changes.shared():
                return work(self.runtime)

        return await self.call(run)

    async def replace(self, runtime: Runtime, scheduler: Scheduler, commit: Callable[[], None]) -> Parts:
        """Answer with these once `commit` has returned, which runs in a thread while nothing runs by `at_runtime`.

        Gives what answered before, for the caller to close once it is `free`: requests that began with it end with
        it. Raises what `commit` raises, and nothing has changed then.
        """
        old, new = self._opened(), Parts(runtime, scheduler)

        def run() -> None:
            with self._changes.alone():
                commit()
                self._parts = new

        await self.call(run)
        return old

    def close(self) -> None:
        """Let go of the threads; runtime and scheduler are the caller's to close."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _opened(self) -> Parts:
        if self._parts is None:
            raise StartingError("the model is still loading; try again in a moment")
        return self._parts

    def _seconds(self, wanted: float | None) -> float:
        seconds = self.config.timeout_ms / 1000 if wanted is None else wanted
        return min(seconds, self.config.max_timeout_ms / 1000)

    async def _answer(self, rows: Sequence[Row], refs: Sequence[str | None], seconds: float) -> list[Answer]:
        with self._opened().used() as (runtime, scheduler):
            return await self._answered(runtime, scheduler, rows, refs, seconds)

    async def _answered(
        self,
        runtime: Runtime,
        scheduler: Scheduler,
        rows: Sequence[Row],
        refs: Sequence[str | None],
        seconds: float,
    ) -> list[Answer]:
        characters = self._checked(rows, refs)
        texts = all(isinstance(row, str | tuple) for row in rows)
        small = texts and characters <= SMALL and len(set(refs)) <= FEW_ADAPTERS
        try:
            async with asyncio.timeout(seconds):
                until = asyncio.get_running_loop().time() + seconds
                if small:
                    items = _prepared(runtime, rows, refs)
                else:
                    if not texts:
                        await self.call(_refuse_pixels, rows, self.config.max_pixels)
                    items = await self.call(_prepared, runtime, rows, refs)
                pieces = [(piece, pin) for row, pin in items for piece in row.pieces]
                submission = scheduler.submit(pieces, until)
                try:
                    outputs = await asyncio.wrap_future(submission.future)
                except BaseException:
                    submission.cancel()
                    raise
        except TimeoutError as error:
            raise DeadlineError(
                f"no answer within {seconds * 1000:.0f} ms; try a longer X-Request-Timeout-Ms, or fewer rows"
            ) from error
        self.metrics.answered(
            Counter(pin.tag for _, pin in items),
            sum(length(piece) for piece, _ in pieces),
            submission.queue_seconds,
            submission.compute_seconds,
        )

        def decided() -> list[Answer]:
            return runtime.answers([row for row, _ in items], [pin for _, pin in items], outputs)

        return decided() if len(rows) <= FEW_ROWS else await self.call(decided)

    def _checked(self, rows: Sequence[Row], refs: Sequence[str | None]) -> int:
        """The characters of all rows. Raises InputError, TooLarge."""
        if not rows:
            raise InputError("no rows; give at least one")
        if len(refs) != len(rows):
            raise InputError(f"{len(refs)} adapters for {len(rows)} rows; give one for all, or one a row")
        if len(rows) > self.config.max_rows:
            raise TooLarge(f"{len(rows)} rows; a request may have {self.config.max_rows}; send several")
        characters = sum(map(_characters, rows))
        if characters > self.config.max_characters:
            raise TooLarge(f"{characters} characters; a request may have {self.config.max_characters}; send several")
        return characters


def _characters(row: Row) -> int:
    """Characters of a text, or a pair. An image's file and pixels have limits of their own."""
    if isinstance(row, tuple):
        return sum(map(len, row))
    return len(row) if isinstance(row, str) else 0


def _refuse_pixels(rows: Sequence[Row], most: int) -> None:
    """Hold a request's images to their limit by their headers, before any is decoded. Raises InputError, TooLarge."""
    pixels = 0
    for place, row in enumerate(rows, 1):
        if isinstance(row, bytes):
            header = read_header(row, f"row {place}")
            pixels += header.width * header.height
    if pixels > most:
        raise TooLarge(f"{pixels:,} pixels; a request's images may have {most:,}; send several, or smaller ones")


def _prepared(runtime: Runtime, rows: Sequence[Row], refs: Sequence[str | None]) -> list[tuple[Prepared, Pinned]]:
    pins = {ref: runtime.pin(ref) for ref in dict.fromkeys(refs)}
    return [
        (runtime.prepare(row, pins[ref], f"row {place}"), pins[ref])
        for place, (row, ref) in enumerate(zip(rows, refs, strict=True), 1)
    ]
