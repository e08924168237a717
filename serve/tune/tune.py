"""`svfit tune`: try a bundle's variants and settings on this machine, and say which to take."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from serve.bundle import Bundle
from serve.errors import GateError, UnmetError, UsageError
from serve.profile import Machine, Profile, graphs_digest
from serve.tune.candidate import Measured
from serve.tune.choice import RULE, Wishes, best, nearest
from serve.tune.search import Measure, Search
from serve.tune.trial import Trials, accuracy_of

LEAST_SECONDS, MOST_SECONDS = 1.0, 3600.0
BUSY = 0.1  # share of the time spent waiting, above which a person is told


@dataclass(frozen=True, slots=True)
class Tuned:
    """What was measured, and the choice; None where nothing keeps the wishes, then `nearest` is what comes nearest.

    `seconds` that it took, `short` where more was worth trying; `remarks` are what a person should
    know of how it was measured.
    """

    bundle: Bundle
    machine: Machine
    wishes: Wishes
    measured: tuple[Measured, ...]
    chosen: Measured | None
    nearest: Measured | None
    seconds: float
    short: bool
    remarks: tuple[str, ...]

    def require(self) -> Measured:
        """The choice. Raises UnmetError that names the nearest; GateError where no variant can be used here."""
        if self.chosen is not None:
            return self.chosen
        if self.nearest is None:
            reasons = "; ".join(f"{one.candidate}: {one.problem}" for one in self.measured)
            raise GateError(f"bundle {self.bundle.path}: no variant can be used here: {reasons}")
        missed = ", ".join(self.wishes.missed(self.nearest))
        raise UnmetError(
            f"bundle {self.bundle.path}: nothing of {len(self.measured)} tried keeps every wish; the nearest is"
            f" {self.nearest.candidate}: {missed}{'; more was worth trying, give more --seconds' if self.short else ''}"
        )

    def profile(self) -> Profile:
        """The choice as a device profile. Raises as `require`."""
        chosen = self.require()
        manifest = self.bundle.manifest
        return Profile(
            manifest.name,
            manifest.manifest_sha256,
            graphs_digest(manifest),
            self.machine,
            chosen.candidate.variant,
            chosen.candidate.settings,
            chosen.numbers(),
            {name: value for name, value in asdict(self.wishes).items() if value is not None},
        )

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON. `keeps` of a candidate is whether it keeps every wish."""
        return {
            "bundle": str(self.bundle.path),
            "manifest_sha256": self.bundle.manifest.manifest_sha256,
            "machine": asdict(self.machine),
            "wishes": asdict(self.wishes),
            "rule": RULE,
            "candidates": [
                {**one.to_dict(), "keeps": not one.problem and self.wishes.excess(one) <= 0} for one in self.measured
            ],
            "chosen": None if self.chosen is None else self.chosen.to_dict(),
            "nearest": None if self.nearest is None else self.nearest.to_dict(),
            "seconds": round(self.seconds, 1),
            "remarks": list(self.remarks),
        }


def tune(
    bundle: Bundle,
    wishes: Wishes,
    *,
    seconds: float = 60.0,
    sweep: bool = False,
    on_visit: Callable[[Measured], None] | None = None,
    measuring: Measure | None = None,
) -> Tuned:
    """Measure within about `seconds`, each candidate in a process of its own; `sweep` measures all there are instead.

    `on_visit` is told of every visit; `measuring` stands in for `serve.tune.trial.Trials`. That nothing keeps the
    wishes doesn't raise here: see `Tuned.require`. Raises UsageError where the bundle doesn't tell what is wished.
    """
    if not LEAST_SECONDS <= seconds <= MOST_SECONDS:
        raise UsageError(f"seconds must be of {LEAST_SECONDS:g} to {MOST_SECONDS:g} (got {seconds:g})")
    variants = [variant.name for variant in bundle.manifest.variants]
    silent = [name for name in variants if accuracy_of(bundle, name) is None]
    if wishes.min_accuracy is not None and silent:
        raise UsageError(f"min-accuracy: the bundle tells no accuracy of {', '.join(silent)}; leave it out")
    machine = Machine.here()
    one = measuring or Trials(bundle)

    def told(candidate: Any, share: float) -> Measured:
        found = one(candidate, share)
        if on_visit is not None:
            on_visit(found)
        return found

    began = time.monotonic()
    search = Search(told, variants, machine.cores, wishes, seconds)
    if sweep:
        search.sweep()
    else:
        search.run()
    found = tuple(search.measured)
    remarks = _busy(found)
    if search.short_of_time:
        remarks.append(f"{seconds:g} s were too short for all that was worth trying; give more --seconds")
    return Tuned(
        bundle,
        machine,
        wishes,
        found,
        best(found, wishes),
        nearest(found, wishes),
        time.monotonic() - began,
        search.short_of_time,
        tuple(remarks),
    )


def _busy(measured: Sequence[Measured]) -> list[str]:
    share = fmean([one.waited for one in measured if not one.problem] or [0.0])
    if share <= BUSY:
        return []
    return [
        f"the machine was busy: {share:.0%} of the time went by waiting for cores that other programs had, which is"
        " taken off; to be sure, tune again when it is quiet"
    ]
