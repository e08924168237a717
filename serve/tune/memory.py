"""What this process takes of memory, as the system counts it. Unknown facts are None."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Resident:
    """Bytes in memory now: all of it, and `own`, which the system can't take back as it isn't a file's content."""

    resident: int | None
    own: int | None


def resident(rollup: str | None = None) -> Resident:
    """This process now. Linux only."""
    text = _read("/proc/self/smaps_rollup") if rollup is None else rollup
    return Resident(_bytes(text, "Rss"), _bytes(text, "Anonymous"))


def peak(status: str | None = None) -> int | None:
    """The most bytes that this process had in memory at any moment. Linux and macOS.

    On Linux getrusage would count what its parent had before the program began.
    """
    if sys.platform == "darwin":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return _bytes(_read("/proc/self/status") if status is None else status, "VmHWM")


def _bytes(text: str, key: str) -> int | None:
    found = re.search(rf"^{key}:\s+(\d+) kB$", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
