"""How long this thread waited for a core while other programs had them all."""

from __future__ import annotations

from pathlib import Path

SCHEDSTAT = Path("/proc/thread-self/schedstat")
QUOTA = Path("/sys/fs/cgroup/cpu.max")


class Waiting:
    """A clock of waiting, for the thread that makes and reads it.

    Linux tells it. Elsewhere it stands still, and so it does where a container's quota makes the thread wait: that is
    no neighbour's doing and counts.
    """

    def __init__(self, schedstat: Path = SCHEDSTAT, quota: Path = QUOTA) -> None:
        self._path = None if _read(quota)[:1].isdigit() or len(_read(schedstat).split()) != 3 else schedstat

    def ms(self) -> float:
        """Milliseconds that the thread has waited so far; 0 where nobody tells."""
        return 0.0 if self._path is None else int(_read(self._path).split()[1]) / 1e6


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except OSError:
        return ""
