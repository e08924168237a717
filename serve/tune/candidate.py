"""A variant with settings, and what was measured of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from statistics import fmean
from typing import Any

import numpy as np

from serve.settings import Settings

SWITCHES = {
    "arena": "no arena",
    "mem_pattern": "no memory pattern",
    "spinning": "no spinning",
    "prepacking": "no prepacking",
}
"""Settings that are on usually, with what is said where one is off."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A way to run the bundle."""

    variant: str
    settings: Settings

    @property
    def threads(self) -> int:
        return self.settings.threads or 0

    def with_threads(self, threads: int) -> Candidate:
        """The same with another number of threads."""
        return replace(self, settings=replace(self.settings, threads=threads))

    def turned(self, *switches: str) -> Candidate:
        """The same with these turned off where they are on, on where they are off."""
        turned = {switch: not getattr(self.settings, switch) for switch in switches}
        return replace(self, settings=replace(self.settings, **turned))

    def __str__(self) -> str:
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        off = [told for name, told in SWITCHES.items() if not getattr(self.settings, name)]
        return ", ".join([self.variant, threads, *off])


@dataclass(frozen=True, slots=True)
class Measured:
    """A candidate in a process of its own.

    Milliseconds of single rows, text in and logits out, and of batches of `batch` rows, less what they waited for a
    core that other programs had; `waited` is that share of the time. `cpu_ms` of processor time a
    row, all threads. Bytes resident after loading, of it `own` (no file's content), and at the `peak`; None where the
    system doesn't tell. `max_abs` is the largest difference of a logit to those stored. `accuracy` is what the
    bundle tells of the variant, by `metric`. `problem` is why it is out.
    """

    candidate: Candidate
    single_ms: tuple[float, ...] = ()
    batch_ms: tuple[float, ...] = ()
    batch: int = 0
    cpu_ms: float = 0.0
    resident: int | None = None
    own: int | None = None
    peak: int | None = None
    max_abs: float = 0.0
    accuracy: float | None = None
    problem: str = ""
    waited: float = 0.0
    metric: str = "accuracy"

    @property
    def p50_ms(self) -> float:
        return float(np.percentile(self.single_ms, 50))

    @property
    def p99_ms(self) -> float:
        return float(np.percentile(self.single_ms, 99))

    @property
    def rows_per_second(self) -> float:
        return 1000 * self.batch / float(np.median(self.batch_ms))

    @property
    def peak_mb(self) -> float | None:
        return None if self.peak is None else self.peak / 2**20

    def joined(self, later: Measured) -> Measured:
        """Both visits as one: their times together, the larger memory."""
        return replace(
            self,
            single_ms=self.single_ms + later.single_ms,
            batch_ms=self.batch_ms + later.batch_ms,
            cpu_ms=fmean((self.cpu_ms, later.cpu_ms)),
            resident=_larger(self.resident, later.resident),
            own=_larger(self.own, later.own),
            peak=_larger(self.peak, later.peak),
            waited=fmean((self.waited, later.waited)),
            max_abs=max(self.max_abs, later.max_abs),
            problem=self.problem or later.problem,
        )

    def numbers(self) -> dict[str, Any]:
        """What was measured, in ms and MB, ready for JSON; nothing where it is out."""
        if self.problem:
            return {}
        return {
            "p50_ms": round(self.p50_ms, 3),
            "p99_ms": round(self.p99_ms, 3),
            "runs": len(self.single_ms),
            "cpu_ms": round(self.cpu_ms, 3),
            "waited": round(self.waited, 3),
            "rows_per_second": round(self.rows_per_second, 1),
            "batch": self.batch,
            "resident_mb": _mb(self.resident),
            "own_mb": _mb(self.own),
            "peak_mb": _mb(self.peak),
            "max_abs": self.max_abs,
            "accuracy": self.accuracy,
        }

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON: variant, settings, numbers and the problem."""
        settings = asdict(self.candidate.settings)
        known = {"metric": self.metric, "accuracy": self.accuracy, "problem": self.problem}
        return {"variant": self.candidate.variant, **settings, **known, **self.numbers()}


def _larger(first: int | None, second: int | None) -> int | None:
    return second if first is None else first if second is None else max(first, second)


def _mb(size: int | None) -> float | None:
    return None if size is None else round(size / 2**20, 1)
