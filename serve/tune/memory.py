"""What this process takes of memory, as the system counts it. Unknown facts are None."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from serve.machine import kilobytes, read_text


@dataclass(frozen=True, slots=True)
class Resident:
    """Bytes in memory now: all of it, and `own`, which the system can't take back as it isn't a file's content."""

    resident: int | None
    own: int | None


def resident(rollup: str | None = None) -> Resident:
    """This process now. Linux only."""
    text = read_text("/proc/self/smaps_rollup") if rollup is None else rollup
    return Resident(kilobytes(text, "Rss"), kilobytes(text, "Anonymous"))


def peak(status: str | None = None) -> int | None:
    """The most bytes that this process had in memory at any moment. Linux and macOS.

    On Linux getrusage would count what its parent had before the program began.
    """
    if sys.platform == "darwin":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes(read_text("/proc/self/status") if status is None else status, "VmHWM")
