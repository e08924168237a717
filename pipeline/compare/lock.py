"""One comparison at a time in a folder: two would delete what the other trains."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from serve.errors import Conflict

LOCK = ".lock"


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Make the folder and hold it; the system lets go of it when the process ends, however it ends.

    Raises `Conflict` where another process holds it. A file system without locks refuses nobody.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a") as file:
        with suppress(OSError):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Conflict(
                    f"{folder}: another comparison is at work there; wait for it, or name another folder: --output DIR"
                ) from None
        yield
