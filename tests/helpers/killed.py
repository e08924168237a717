"""Processes that are forked to be killed at their work."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable


def forked(work: Callable[[], None]) -> int:
    """The id of a process that works and ends with 0, or tells on stderr why it couldn't."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return pid


def died(work: Callable[[], None]) -> bool:
    """Whether a process was killed at its work, or came to its end. Raises where it failed."""
    status = os.waitpid(forked(work), 0)[1]
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise AssertionError("a process failed by itself")
    return os.WIFSIGNALED(status)
