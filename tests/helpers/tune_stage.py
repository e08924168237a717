"""A machine whose speed and memory are a formula, so that a search can be held to the best there is."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from serve.bundle import Bundle
from serve.profile import Machine, Profile, graphs_digest
from serve.settings import Settings
from serve.tune.candidate import Candidate, Measured
from serve.tune.search import every, thread_counts

MB = 2**20


def made(
    candidate: Candidate, p50: float, peak: float = 100.0, cpu: float = 1.0, accuracy: float | None = 0.9
) -> Measured:
    """Times of 100 single rows around `p50` ms, the 99th of 100 being a fifth more; `peak` MB."""
    single = (*(p50 for _ in range(97)), *(p50 * 1.2 for _ in range(3)))
    return Measured(
        candidate, single, (16 * p50,), 16, cpu, int(peak * MB), int(peak * MB), int(peak * MB), 0, accuracy
    )


def profile_of(bundle: Bundle, variant: str, settings: Settings) -> Profile:
    """What `svfit tune` might have found for a bundle here."""
    digests = bundle.manifest.manifest_sha256, graphs_digest(bundle.manifest)
    return Profile("tiny", *digests, Machine.here(), variant, settings, {"p50_ms": 1.5}, {"max_ms": 15})


class FakeMachine:
    """Measures by `speed(candidate)`: p50 ms, peak MB and CPU ms; `cost` seconds go by on its clock for a visit."""

    def __init__(
        self,
        speed: Callable[[Candidate], tuple[float, float, float]],
        cores: int = 8,
        cost: float = 0.0,
        accuracy: Mapping[str, float] | None = None,
        broken: Mapping[str, str] | None = None,
    ) -> None:
        self.speed, self.cores, self.cost = speed, cores, cost
        self.accuracy, self.broken = accuracy or {}, broken or {}
        self.now = 0.0
        self.visits: list[Candidate] = []

    def clock(self) -> float:
        return self.now

    def __call__(self, candidate: Candidate, seconds: float) -> Measured:
        self.now += self.cost
        self.visits.append(candidate)
        if candidate.variant in self.broken:
            return Measured(candidate, problem=self.broken[candidate.variant])
        return made(candidate, *self.speed(candidate), self.accuracy.get(candidate.variant, 0.9))

    def all(self, *variants: str) -> list[Measured]:
        """Every candidate there is, measured at no cost."""
        return [
            made(one, *self.speed(one), self.accuracy.get(one.variant, 0.9))
            for one in every(variants, thread_counts(self.cores))
        ]


def usual(candidate: Candidate) -> tuple[float, float, float]:
    """A small model's machine: int8 is faster and smaller, four threads are best, each switch does what it does."""
    settings = candidate.settings
    ms = {"fp32": 12.0, "int8": 5.0, "w8": 14.0}[candidate.variant]
    mb = {"fp32": 230.0, "int8": 140.0, "w8": 145.0}[candidate.variant]
    ms *= {1: 1.0, 2: 0.6, 4: 0.4, 8: 0.7}[candidate.threads]
    cpu = ms * (2.0 if settings.spinning and candidate.threads > 1 else 1.0)
    if not settings.prepacking:
        ms, mb = ms * 1.4, mb - 30
    if not settings.mem_pattern:
        ms, mb = ms * 1.01, mb - 8
    if not settings.arena:
        ms, mb = ms * 1.2, mb + 5
    if not settings.spinning:
        ms *= 1.02
    return ms, mb, cpu
