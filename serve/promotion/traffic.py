"""Who is asked for how much: rows by adapter, forgotten by half every minute."""

from __future__ import annotations

import math
from dataclasses import dataclass

HALF_LIFE = 60.0  # seconds
MOST_NAMES = 4096  # names counted before those hardly asked for are forgotten


@dataclass(slots=True)
class Decaying:
    """A sum that halves every HALF_LIFE seconds; at a steady rate it stands at 87 seconds' worth."""

    value: float = 0.0
    at: float = 0.0

    def add(self, amount: float, now: float) -> float:
        """Add and give the sum now."""
        self.value, self.at = self.now(now) + amount, now
        return self.value

    def now(self, now: float) -> float:
        """The sum at `now` (seconds of the clock that all calls share)."""
        return self.value * math.exp2((self.at - now) / HALF_LIFE)


class Traffic:
    """Rows by name, and of all names together. Not thread-safe."""

    def __init__(self) -> None:
        self._names: dict[str, Decaying] = {}
        self._all = Decaying()

    def add(self, name: str, rows: int, now: float) -> None:
        if name not in self._names and len(self._names) >= MOST_NAMES:
            self._names = {kept: sum_ for kept, sum_ in self._names.items() if sum_.now(now) >= 1}
        self._names.setdefault(name, Decaying()).add(rows, now)
        self._all.add(rows, now)

    def rows(self, name: str, now: float) -> float:
        return self._names[name].now(now) if name in self._names else 0.0

    def share(self, name: str, now: float) -> float:
        """From 0 to 1; 0 where there is no traffic."""
        total = self._all.now(now)
        return self.rows(name, now) / total if total > 0 else 0.0

    def rename(self, old: str, new: str) -> None:
        if old in self._names:
            self._names[new] = self._names.pop(old)

    def forget(self, name: str) -> None:
        self._names.pop(name, None)
