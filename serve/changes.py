"""Changes that may overlap one another, and a switch that overlaps none of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Changes:
    """A lock with two sides, for threads. Whoever wants it alone goes before those who come later."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._idle = threading.Condition()
        self._running = 0

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Beside others, while nobody has it alone."""
        with self._turn, self._idle:
            self._running += 1
        try:
            yield
        finally:
            with self._idle:
                self._running -= 1
                self._idle.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Once those that are under way have ended, and while nobody else begins."""
        with self._turn:
            with self._idle:
                self._idle.wait_for(lambda: self._running == 0)
            yield
