"""Hot adapters get a session of their own, built in the background, within a budget of memory."""

from __future__ import annotations

import logging
import math
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from serve.adapters.adapter import LoadedAdapter
from serve.bundle import Bundle
from serve.engine import Backbone
from serve.errors import ClosingError, Conflict, UsageError
from serve.promotion.earning import BEATS, Earning
from serve.promotion.promoted import PromotedSession, session_bytes
from serve.promotion.traffic import Decaying
from serve.settings import USUAL, Settings

VERSION_ROWS = 64.0  # rows of another version of a promoted name before it takes the place of the promoted one
PROMOTABLE = "fp32"

Sigma = npt.NDArray[np.float32]
Policy = Literal["never", "auto"] | Sequence[str]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Promoted:
    """An adapter with a session of its own: `bytes` that the session takes, `since` when (seconds since 1970)."""

    name: str
    bytes: int
    since: float


@dataclass(frozen=True, slots=True)
class Event:
    """What happened to `name`: `seconds` that building took, and `reason`, one line, where it failed."""

    kind: Literal["promoted", "demoted", "failed"]
    name: str
    seconds: float = 0.0
    reason: str = ""


@dataclass(slots=True, eq=False)
class _Entry:
    """A session in use. `sigma` is the array it is found by; kept here, so that its id is nobody else's."""

    sigma: Sigma
    run: Backbone
    since: float
    mine: Decaying = field(default_factory=Decaying)  # rows of what is promoted
    others: Decaying = field(default_factory=Decaying)  # rows of other versions of the name


class Promoter:
    """Decides which adapters are promoted, and builds their sessions in one background thread.

    Policy "never" promotes nothing by itself; names are promoted as soon as they are asked for; "auto" promotes as
    serve.promotion.earning says. One promoted by hand is such a name. A version that draws BEATS times the rows of the
    promoted version of its name, and VERSION_ROWS of them, takes its place.
    What leaves is let go before its successor is built, so the budget holds; requests under way end on what they have.
    Every method may be called from many threads at once.
    """

    def __init__(
        self,
        bundle: Bundle,
        variant: str | None = None,
        *,
        policy: Policy = "never",
        budget_mb: float = 512.0,
        settings: Settings = USUAL,
        on_event: Callable[[Event], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`budget_mb` MiB for all sessions together, each counted as `serve.promotion.promoted.session_bytes`.

        `settings` as the backbone's; `on_event` is called in the background thread, or in the thread that demotes.
        A build that fails is logged too.

        Raises UsageError where the policy can't be followed: another precision than fp32, a merged bundle, a budget
        too small for one session.
        """
        if not budget_mb >= 0:
            raise UsageError(f"promote_mb must be at least 0 (got {budget_mb})")
        if isinstance(policy, str) and policy not in ("never", "auto"):
            raise UsageError(f'promote must be "never", "auto" or a list of adapters (got {policy!r})')
        self._bundle, self._variant = bundle, bundle.manifest.variant(variant)
        self._budget_mb, self._settings, self._on_event, self._clock = budget_mb, settings, on_event, clock
        self._rules = Earning(policy == "auto", () if isinstance(policy, str) else policy)
        self._failed: dict[str, Sigma] = {}
        self._pending: dict[str, Sigma] = {}
        self._entries: dict[str, _Entry] = {}
        self._table: dict[int, _Entry] = {}  # id of a sigma → its session; replaced, never changed
        self._lock = threading.Lock()
        self._settled = threading.Condition(self._lock)
        self._jobs: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._bytes = 0
        self._watching = policy == "auto" or bool(self._rules.wanted)
        if self._watching:
            self._check()

    def session_for(self, loaded: LoadedAdapter) -> Backbone | None:
        """The promoted backbone of an adapter, to run in place of the swappable one; None where it has none.

        Takes no lock. What was given stays good for as long as it is held.
        """
        sigma = loaded.sigma
        entry = self._table.get(id(sigma))
        return entry.run if entry is not None and entry.sigma is sigma else None

    def saw(self, name: str, loaded: LoadedAdapter, rows: int) -> None:
        """Count rows that an adapter is about to answer; it may earn a session by them. Microseconds."""
        if not self._watching:
            return
        with self._lock:
            now = self._clock()
            self._rules.traffic.add(name, rows, now)
            entry = self._entries.get(name)
            if entry is None:
                if (
                    name not in self._pending
                    and id(loaded.sigma) not in self._table
                    and self._rules.earns(name, self._entries, self._slots(), now)
                ):
                    self._ask(name, loaded.sigma)
            elif entry.sigma is loaded.sigma:
                entry.mine.add(rows, now)
            elif np.array_equal(entry.sigma, loaded.sigma):  # it left the memory and came back
                entry.mine.add(rows, now)
                entry.sigma = loaded.sigma
                self._publish()
            else:
                others = entry.others.add(rows, now)
                if name not in self._pending and others >= max(VERSION_ROWS, BEATS * entry.mine.now(now)):
                    self._ask(name, loaded.sigma)

    def promote(self, name: str, loaded: LoadedAdapter) -> None:
        """Ask for a session for `name`, whatever the policy; it is built in the background and stays wanted.

        A promoted name is built anew for what `loaded` holds, so this is also how a new default version takes over at
        once. Raises UsageError as the constructor, Conflict where the budget is full of names that are wanted and used
        as much, ClosingError.
        """
        self._check()
        with self._lock:
            if self._closed:
                raise ClosingError("promote: the runtime is closing and builds nothing new")
            before = name in self._rules.wanted
            self._rules.wanted.add(name)  # asking by hand counts before there is room
            if not self._rules.room(name, self._entries, self._slots(), self._clock()):
                if not before:
                    self._rules.wanted.discard(name)
                raise Conflict(
                    f"adapter {name}: promote_mb = {self._budget_mb:g} has no room beside {', '.join(self._entries)};"
                    " demote one, or raise promote_mb"
                )
            self._rules.barred.discard(name)
            self._failed.pop(name, None)
            self._watching = True
            entry = self._entries.get(name)
            if entry is not None and np.array_equal(entry.sigma, loaded.sigma):
                entry.sigma = loaded.sigma
                self._publish()
                self._pending.pop(name, None)
                self._settled.notify_all()
            else:
                self._ask(name, loaded.sigma)

    def demote(self, name: str) -> None:
        """Let go of a name's session; it isn't promoted again until `promote` says so."""
        with self._lock:
            self._rules.wanted.discard(name)
            self._rules.barred.add(name)
            gone = self._drop(name)
        self._tell(name, gone)

    def forget(self, name: str) -> None:
        """The same for a name that was removed: should it come back, it starts afresh."""
        with self._lock:
            gone = self._drop(name)
            self._rules.barred.discard(name)
            self._rules.traffic.forget(name)
        self._tell(name, gone)

    def rename(self, old: str, new: str) -> None:
        """An adapter has another name now; its session and its rows go along."""
        with self._lock:
            self._rules.rename(old, new)
            if old in self._entries:
                self._entries[new] = self._entries.pop(old)
                self._publish()
            self._pending.pop(old, None)  # traffic asks again, by the new name
            self._settled.notify_all()

    def promoted(self) -> list[Promoted]:
        """The adapters that have a session now, oldest first."""
        with self._lock:
            return [Promoted(name, self._bytes, entry.since) for name, entry in self._entries.items()]

    def wanted(self) -> tuple[str, ...]:
        """Names that are promoted whatever their share, sorted."""
        with self._lock:
            return tuple(sorted(self._rules.wanted))

    def settle(self, timeout: float | None = None) -> bool:
        """Wait until nothing is being built; False where that takes longer than `timeout` seconds."""
        with self._settled:
            return self._settled.wait_for(lambda: not self._pending, timeout)

    def close(self) -> None:
        """Stop building (what is begun is finished first) and let go of every session."""
        with self._lock:
            self._closed, self._watching = True, False
            thread, self._thread = self._thread, None
            self._jobs.put(None)
        if thread is not None:
            thread.join()
        with self._lock:
            self._pending.clear()
            gone, self._entries = self._entries, {}
            self._publish()
            self._settled.notify_all()
        gone.clear()

    # All below is called with the lock held, but for _check, _work, _make_room, _build, _tell and _emit.

    def _check(self) -> None:
        """Learn what a session takes. Raises UsageError where there can be none."""
        if self._bundle.manifest.swap is None:
            raise UsageError('promote: this bundle is merged, its adapter is folded in already; say promote = "never"')
        if self._variant.precision != PROMOTABLE:
            raise UsageError(
                f"promote: variant {self._variant.name} is {self._variant.precision}, and adapters are folded in"
                f' {PROMOTABLE}: slower, with other answers; choose variant {PROMOTABLE}, or promote = "never"'
            )
        if not self._bytes:
            self._bytes = session_bytes(self._bundle)
        if not self._slots():
            need = math.ceil(self._bytes / 2**20)
            raise UsageError(
                f"promote_mb = {self._budget_mb:g}: one promoted adapter takes {self._bytes / 2**20:.1f} MB;"
                f' try promote_mb = {need} or more, or promote = "never"'
            )

    def _slots(self) -> int:
        return int(self._budget_mb * 2**20 // self._bytes)

    def _ask(self, name: str, sigma: Sigma) -> None:
        """Have a session built, unless this very adapter failed before."""
        failed = self._failed.get(name)
        if self._closed or (failed is not None and np.array_equal(failed, sigma)):
            return
        self._pending[name] = sigma
        self._jobs.put(name)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="svfit-promote", daemon=True)
            self._thread.start()

    def _drop(self, name: str) -> _Entry | None:
        """Take out a session, and what is being built for the name. The caller lets go of it without the lock."""
        self._pending.pop(name, None)
        self._failed.pop(name, None)
        self._settled.notify_all()
        entry = self._entries.pop(name, None)
        self._publish()
        return entry

    def _publish(self) -> None:
        self._table = {id(entry.sigma): entry for entry in self._entries.values()}

    def _work(self) -> None:
        while (name := self._jobs.get()) is not None:
            with self._lock:
                sigma = self._pending.get(name)
            if sigma is not None:
                if self._make_room(name):
                    self._build(name, sigma)
                with self._lock:
                    if self._pending.get(name) is sigma:
                        del self._pending[name]
                    self._settled.notify_all()

    def _make_room(self, name: str) -> bool:
        """Let go of what the new session replaces; False where there is no room for it any more."""
        with self._lock:
            now, slots = self._clock(), self._slots()
            if self._closed or not self._rules.room(name, self._entries, slots, now):
                return False
            leaving: str | None = name
            if name not in self._entries:
                leaving = self._rules.loser(name, self._entries, now) if len(self._entries) >= slots else None
            gone = None if leaving is None else self._entries.pop(leaving)
            self._publish()
        if leaving is not None:
            self._tell(leaving, gone)
        return True

    def _build(self, name: str, sigma: Sigma) -> None:
        began = time.perf_counter()
        try:
            run, reason = PromotedSession(self._bundle, sigma, self._settings).run, ""
        except Exception as error:  # whatever it is, the swappable graph goes on answering
            run, reason = None, str(error).strip().partition("\n")[0] or type(error).__name__
        seconds = time.perf_counter() - began
        with self._lock:
            if self._pending.get(name) is not sigma:
                return  # demoted meanwhile, or asked for with another version
            if run is None:
                self._failed[name] = sigma
            else:
                self._entries[name] = _Entry(sigma, run, time.time())
                self._publish()
        self._emit(Event("failed" if run is None else "promoted", name, seconds, reason))

    def _tell(self, name: str, gone: _Entry | None) -> None:
        if gone is not None:
            self._emit(Event("demoted", name))

    def _emit(self, event: Event) -> None:
        if event.kind == "failed":
            _LOG.warning("adapter %s: not promoted, the shared graph answers (%s)", event.name, event.reason)
        if self._on_event is None:
            return
        try:
            self._on_event(event)
        except Exception:  # a listener is no reason to stop serving
            _LOG.exception("the listener for promotions failed")
