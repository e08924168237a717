"""One process at a time changes a site: a lock that the system lets go of with the process, however it ends."""

from __future__ import annotations

import sys
from pathlib import Path

from serve.errors import Conflict

LOCK = "lock"


class FolderLock:
    """Holds `folder`'s lock from its making until `close`. Raises Conflict where another process has it, OSError."""

    def __init__(self, folder: Path) -> None:
        self._handle = (folder / LOCK).open("ab")
        try:
            if sys.platform == "win32":
                import msvcrt

                msvcrt.locking(self._handle.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                import fcntl

                fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._handle.close()
            raise Conflict(
                f"site {folder}: another process has it, a server probably; ask that one by its URL, or stop it first"
            ) from error

    def close(self) -> None:
        """Let go of it."""
        self._handle.close()
