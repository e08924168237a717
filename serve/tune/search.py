"""From coarse to fine: every variant, then threads, then single settings, then the best few again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations, product

from serve.settings import Settings
from serve.tune.candidate import SWITCHES, Candidate, Measured
from serve.tune.choice import Wishes, best, preferred

VISITS = 40  # into which the time is cut; loading takes as much again
SHORTEST, LONGEST = 0.2, 3.0  # seconds that a candidate is timed in a visit
FINALISTS, FINAL_ROUNDS = 3, 3
FINAL_SHARE = 0.25  # of the time, kept for the finalists
COMPETES = 1.3  # a variant is looked into while it is no more than this many times slower than the best
MIDDLE = 4  # threads that a small model can use; where a search begins

Measure = Callable[[Candidate, float], Measured]
"""Measures a candidate for so many seconds."""


class Search:
    """What was measured so far, and what is worth measuring next. `measured` has a candidate once, in order."""

    def __init__(
        self,
        measure: Measure,
        variants: Sequence[str],
        cores: int,
        wishes: Wishes,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._measure, self._variants, self._wishes, self._clock = measure, variants, wishes, clock
        self._counts = thread_counts(cores)
        self._slice = min(max(seconds / VISITS, SHORTEST), LONGEST)
        self._found: dict[Candidate, Measured] = {}
        self._end = clock() + seconds
        self._until = self._end - FINAL_SHARE * seconds
        self._cost = 0.0
        self.short_of_time = False

    @property
    def measured(self) -> list[Measured]:
        """Everything so far, in the order in which it was first measured."""
        return list(self._found.values())

    def run(self) -> None:
        """Search within the time. Every variant is measured once, whatever it takes."""
        begin = max(count for count in self._counts if count <= MIDDLE)
        for variant in self._variants:
            self._visit(Candidate(variant, Settings(begin)))
        for variant in self._ranked():
            if self._competes(variant):
                self._threads(variant)
                self._settings(variant)
        self._finals(self._end)

    def sweep(self) -> None:
        """Measure every candidate there is, however long it takes, and the best few again."""
        for candidate in every(self._variants, self._counts):
            self._visit(candidate)
        self._finals(None)

    def _threads(self, variant: str) -> None:
        """Go up in threads while it helps, then down; several threads with and without spinning."""
        start = self._of(variant)
        if start is None:
            return
        place = self._counts.index(start.candidate.threads)
        for counts in (self._counts[place:], self._counts[:place][::-1]):
            for count in counts:
                before = self._of(variant)
                candidate = start.candidate.with_threads(count)
                self._ask(candidate)
                if count > 1:
                    self._ask(candidate.turned("spinning"))
                if self._of(variant) is before and count != start.candidate.threads:
                    break

    def _settings(self, variant: str) -> None:
        """Turn each switch alone, then those together that helped, and the same from there while that helps."""
        while (base := self._of(variant)) is not None:
            helped = []
            for switch in _switches(base.candidate):
                tried = self._ask(base.candidate.turned(switch))
                if tried is not None and preferred([base, tried], self._wishes) is tried:
                    helped.append(switch)
            if len(helped) > 1:
                self._ask(base.candidate.turned(*helped))
            if self._of(variant) is base:
                return

    def _finals(self, end: float | None) -> None:
        """Measure the best few again, taking turns, so that a slow moment of the machine meets all of them."""
        finalists = self._finalists()
        for _ in range(FINAL_ROUNDS):
            for candidate in finalists:
                if end is not None and self._clock() + self._cost > end:
                    return
                self._visit(candidate)

    def _finalists(self) -> list[Candidate]:
        left = self.measured
        chosen: list[Candidate] = []
        while len(chosen) < FINALISTS and (one := preferred(left, self._wishes)) is not None:
            chosen.append(one.candidate)
            left.remove(one)
        return chosen

    def _ranked(self) -> list[str]:
        """Variants that can be used, the preferred first."""
        left = self.measured
        ranked: list[str] = []
        while (one := preferred(left, self._wishes)) is not None:
            ranked.append(one.candidate.variant)
            left.remove(one)
        return ranked

    def _competes(self, variant: str) -> bool:
        here, leader = self._of(variant), best(self.measured, self._wishes)
        if here is None or not self._wishes.accurate(here):
            return False
        return leader is None or here.p50_ms <= COMPETES * leader.p50_ms

    def _of(self, variant: str) -> Measured | None:
        return preferred([one for one in self.measured if one.candidate.variant == variant], self._wishes)

    def _ask(self, candidate: Candidate) -> Measured | None:
        """Measure it, unless that was done or the time is over."""
        if candidate not in self._found:
            if self._clock() + self._cost > self._until:
                self.short_of_time = True
                return None
            self._visit(candidate)
        found = self._found[candidate]
        return None if found.problem else found

    def _visit(self, candidate: Candidate) -> None:
        began = self._clock()
        fresh = self._measure(candidate, self._slice)
        self._cost = self._clock() - began
        before = self._found.get(candidate)
        self._found[candidate] = fresh if before is None else before.joined(fresh)


def thread_counts(cores: int) -> list[int]:
    """1, 2, 4, … and all cores, ascending."""
    powers = [2**power for power in range(cores.bit_length()) if 2**power < cores]
    return [*powers, cores]


def every(variants: Sequence[str], counts: Sequence[int]) -> Iterator[Candidate]:
    """Variants by threads by settings, but for those that are the same: one thread never spins."""
    for variant, count in product(variants, counts):
        base = Candidate(variant, Settings(count))
        switches = _switches(base)
        for number in range(len(switches) + 1):
            for off in combinations(switches, number):
                yield base.turned(*off)


def _switches(candidate: Candidate) -> list[str]:
    return [name for name in SWITCHES if name != "spinning" or candidate.threads > 1]
