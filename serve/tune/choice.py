"""Which candidate is best, by a rule that can be told in a line, or which comes nearest to what was wished."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from serve.errors import UsageError
from serve.tune.candidate import Measured

AS_FAST = 1.05  # within this of the fastest, a candidate is as fast: medians move that much by themselves
AS_SMALL = 1.02
RULE = (
    "of what keeps every wish the fastest for a single row (p50); of those within 5% of it the one with the least"
    " memory at its peak; of those within 2% of that the one that takes the least processor time"
)


@dataclass(frozen=True, slots=True)
class Wishes:
    """Limits: `max_ms` for 99 of 100 single rows, `max_mb` at the peak of memory, `min_accuracy` of 0 to 1
    (of entities their F1, of embeddings Spearman or MRR)."""

    max_ms: float | None = None
    max_mb: float | None = None
    min_accuracy: float | None = None

    def __post_init__(self) -> None:
        """Raises UsageError for limits that nothing could keep."""
        for name, value in (("max-ms", self.max_ms), ("max-mb", self.max_mb)):
            if value is not None and not 0 < value < 1e9:
                raise UsageError(f"{name} must be above 0 (got {value:g})")
        if self.min_accuracy is not None and not 0 <= self.min_accuracy <= 1:
            raise UsageError(f"min-accuracy must be of 0 to 1, such as 0.93 (got {self.min_accuracy:g})")

    def excess(self, measured: Measured) -> float:
        """By how much the wish that is missed most is missed, as a share of it: 0.2 for 12 ms where 10 are wished.

        0 where every wish is kept. Raises UsageError where what is wished isn't known.
        """
        shares = [0.0]
        if self.max_ms is not None:
            shares.append(measured.p99_ms / self.max_ms - 1)
        if self.max_mb is not None:
            if measured.peak_mb is None:
                raise UsageError("max-mb: this system doesn't tell what a process takes of memory; leave it out")
            shares.append(measured.peak_mb / self.max_mb - 1)
        if self.min_accuracy is not None:
            shares.append(self.min_accuracy / max(accuracy(measured), 1e-9) - 1)
        return max(shares)

    def missed(self, measured: Measured) -> list[str]:
        """Every wish that isn't kept, in words."""
        told = []
        if self.max_ms is not None and measured.p99_ms > self.max_ms:
            told.append(f"p99 {measured.p99_ms:.2f} ms (wished: {self.max_ms:g})")
        if self.max_mb is not None and (measured.peak_mb or 0) > self.max_mb:
            told.append(f"peak {measured.peak_mb:.1f} MB (wished: {self.max_mb:g})")
        if not self.accurate(measured):
            name = measured.metric.replace("_", "-")
            told.append(f"{name} {accuracy(measured):.4f} (wished: {self.min_accuracy:g})")
        return told

    def accurate(self, measured: Measured) -> bool:
        """Whether its variant is as accurate as wished, which no setting changes."""
        return self.min_accuracy is None or accuracy(measured) >= self.min_accuracy


def accuracy(measured: Measured) -> float:
    """Raises UsageError where the bundle doesn't tell it."""
    if measured.accuracy is None:
        raise UsageError(
            f"min-accuracy: the bundle tells no accuracy of variant {measured.candidate.variant}; leave it out"
        )
    return measured.accuracy


def best(measured: Sequence[Measured], wishes: Wishes) -> Measured | None:
    """The one that RULE chooses; None where none keeps every wish."""
    keeping = [one for one in measured if not one.problem and wishes.excess(one) <= 0]
    if not keeping:
        return None
    fastest = min(one.p50_ms for one in keeping)
    fast = [one for one in keeping if one.p50_ms <= AS_FAST * fastest]
    least = min(one.peak or 0 for one in fast)
    small = [one for one in fast if (one.peak or 0) <= AS_SMALL * least]
    return min(small, key=lambda one: (one.cpu_ms, one.p50_ms))


def nearest(measured: Sequence[Measured], wishes: Wishes) -> Measured | None:
    """The one whose most missed wish is missed least; None where none can be used at all."""
    usable = [one for one in measured if not one.problem]
    return min(usable, key=lambda one: (wishes.excess(one), one.p50_ms), default=None)


def preferred(measured: Sequence[Measured], wishes: Wishes) -> Measured | None:
    """The best one, else the nearest."""
    return best(measured, wishes) or nearest(measured, wishes)
