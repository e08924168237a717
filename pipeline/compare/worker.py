"""Work in a process of its own: clean state, a peak of memory of its own, and a crash that ends nothing else."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from serve.errors import InputError, SvfitError, UsageError

PRELOADED = ["pipeline.compare.cell", "pipeline.methods.plain", "pipeline.methods.svf", "pipeline.methods.lora"]
"""Imported once, before the first process is forked; a module that can't be imported is left out."""
BETWEEN = 0.2
"""Seconds between two reports of progress."""
Tell = Callable[[int, int], None]
"""Told how much is done, and of how much."""
Work = Callable[[Tell], dict[str, Any]]


class CrashError(SvfitError):
    """A process ended without an answer, or with an error that says nothing about its input."""


def in_own_process(work: Work, log: Path, tell: Tell) -> dict[str, Any]:
    """`work(tell)`, picklable and with a picklable result, done in a fresh process; its output goes to `log`.

    Raises the `UsageError` or `InputError` that it raised, and `CrashError` for any other end. Nothing is left running
    where this is interrupted.
    """
    context = _context()
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_do, args=(theirs, work, log))  # type: ignore[attr-defined]
    process.start()
    theirs.close()
    try:
        return _answer(process, ours, log, tell)
    finally:
        if process.is_alive():
            process.terminate()
        process.join()
        ours.close()


def _context() -> BaseContext:
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def _answer(process: BaseProcess, ours: Connection, log: Path, tell: Tell) -> dict[str, Any]:
    while True:
        try:
            kind, value = ours.recv()
        except EOFError:
            process.join()
            raise CrashError(f"{_ending(process.exitcode)}; its output is in {log}") from None
        if kind == "progress":
            tell(*value)
        elif kind == "done":
            process.join()
            result: dict[str, Any] = value
            if not log.stat().st_size:
                log.unlink()
            return result
        else:
            process.join()
            raise {"usage": UsageError, "input": InputError}.get(kind, CrashError)(value)


def _ending(code: int | None) -> str:
    if code == -signal.SIGKILL:
        return "its process was killed, perhaps for want of memory (try --set train.batch_size=8)"
    if code is not None and code < 0:
        return f"its process was ended by {signal.Signals(-code).name}"
    return f"its process ended with code {code}"


def _do(theirs: Connection, work: Work, log: Path) -> None:
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(output, 1)
    os.dup2(output, 2)
    try:
        theirs.send(("done", work(_Reporter(theirs))))
    except SvfitError as error:
        theirs.send((error.kind, str(error)))
    except (KeyboardInterrupt, BrokenPipeError):
        raise SystemExit(1) from None  # whoever waited is gone, or goes
    except BaseException as error:
        traceback.print_exc()
        theirs.send(("crash", f"{_said(error)}; its output is in {log}"))


def _said(error: BaseException) -> str:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "out of memory; try --set train.batch_size=8"
    first = (str(error).strip().splitlines() or [""])[0]
    return f"unexpected {type(error).__name__}: {first}" if first else f"unexpected {type(error).__name__}"


class _Reporter:
    """Sends progress now and then. With nobody there to hear it, `BrokenPipeError` ends the work."""

    def __init__(self, theirs: Connection) -> None:
        self.theirs = theirs
        self.last = 0.0

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if done == total or now - self.last >= BETWEEN:
            self.last = now
            self.theirs.send(("progress", (done, total)))
