"""Which adapters earn a session of their own, and which leave for them: the rules, without the sessions."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from serve.promotion.traffic import Traffic

MIN_SHARE = 0.25  # of all rows, and
MIN_ROWS = 256.0  # rows, both as serve.promotion.traffic counts them: from there on "auto" promotes an adapter
BEATS = 2.0  # times the rows of what has to leave for it


class Earning:
    """Counts rows, and answers by them. `wanted` are names that need no share; `barred` get nothing.

    Where all slots are taken, the least used leaves for a name with BEATS times its rows; a wanted name takes the slot
    of any that isn't wanted, and one that isn't never takes a wanted one's. Not thread-safe; `now` are the seconds of
    one clock.
    """

    def __init__(self, auto: bool, wanted: Iterable[str]) -> None:
        self.wanted, self.barred = set(wanted), set[str]()
        self.traffic = Traffic()
        self._auto = auto

    def earns(self, name: str, promoted: Collection[str], slots: int, now: float) -> bool:
        """Whether a name without a session should get one."""
        if name in self.barred:
            return False
        busy = self._auto and self.traffic.rows(name, now) >= MIN_ROWS and self.traffic.share(name, now) >= MIN_SHARE
        return (busy or name in self.wanted) and self.room(name, promoted, slots, now)

    def room(self, name: str, promoted: Collection[str], slots: int, now: float) -> bool:
        """Whether there is a slot for a name: its own, a free one, or one that another leaves."""
        return name in promoted or len(promoted) < slots or self.loser(name, promoted, now) is not None

    def loser(self, name: str, promoted: Iterable[str], now: float) -> str | None:
        """Who leaves for `name` where all slots are taken; None where nobody has to."""
        wanted = name in self.wanted
        others = [other for other in promoted if other not in self.wanted] or (list(promoted) if wanted else [])
        if not others:
            return None
        least = min(others, key=lambda other: self.traffic.rows(other, now))
        if wanted and least not in self.wanted:
            return least
        return least if self.traffic.rows(name, now) >= BEATS * self.traffic.rows(least, now) else None

    def rename(self, old: str, new: str) -> None:
        """All that is known of one name is now of another."""
        for names in (self.wanted, self.barred):
            if old in names:
                names.remove(old)
                names.add(new)
        self.traffic.rename(old, new)
