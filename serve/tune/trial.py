"""Measuring a candidate: a process for each, one at a time."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import asdict
from typing import Any

from serve.bundle import Bundle
from serve.tune.candidate import Candidate, Measured

BATCH = 16
PATIENCE = 120.0  # seconds that a process may take above what it was given


METRICS = ("accuracy", "entity_f1", "cosine_spearman", "mrr_at_10", "pearson")
"""What decides for each kind of task: of one bundle's metrics only one is among them."""


class Trials:
    """Measures a bundle's candidates. The server's own memory is measured once and counted for each."""

    def __init__(self, bundle: Bundle, batch: int = BATCH) -> None:
        self._bundle, self._batch = bundle, batch
        self._server: dict[str, int | None] | None = None

    def __call__(self, candidate: Candidate, seconds: float) -> Measured:
        """Load a candidate in a process of its own, check its answers, and time it for about `seconds`.

        One that can't be loaded, answers otherwise than was stored, or crashes has a `problem`.
        """
        metric, accuracy = accuracy_of(self._bundle, candidate.variant) or ("accuracy", None)
        told: dict[str, Any] = {"metric": metric, "accuracy": accuracy}
        try:
            done = self._ended(candidate, seconds)
        except subprocess.TimeoutExpired:
            problem = f"took more than {seconds + PATIENCE:.0f} s to load and answer"
            return Measured(candidate, problem=problem, **told)
        if done.returncode:
            return Measured(candidate, problem=_failure(done.returncode, done.stderr), **told)
        found: dict[str, Any] = json.loads(done.stdout)
        if not found["passed"]:
            problem = f"answers otherwise here: differs by {found['max_abs']:.3g}, allowed {found['tolerance']:.3g}"
            return Measured(candidate, max_abs=found["max_abs"], problem=problem, **told)
        if self._server is None:
            self._server = found["server"]
        resident = _sum(found["resident"], self._server["resident"])
        own, peak = _sum(found["own"], self._server["own"]), _sum(found["peak"], self._server["resident"])
        single, batch = tuple(found["single_ms"]), tuple(found["batch_ms"])
        return Measured(
            candidate,
            single,
            batch,
            self._batch,
            found["cpu_ms"],
            resident,
            own,
            peak,
            found["max_abs"],
            waited=found["waited"],
            **told,
        )

    def _ended(self, candidate: Candidate, seconds: float) -> subprocess.CompletedProcess[bytes]:
        task = {
            "bundle": str(self._bundle.path.resolve()),
            "variant": candidate.variant,
            "settings": asdict(candidate.settings),
            "seconds": seconds,
            "batch": self._batch,
            "server": self._server is None,
        }
        # -P: a folder named serve where the command was given is no part of this program
        command = [sys.executable, "-P", "-m", "serve.tune.child", json.dumps(task)]
        return subprocess.run(  # noqa: S603
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds + PATIENCE, check=False
        )


def accuracy_of(bundle: Bundle, variant: str) -> tuple[str, float] | None:
    """How good a variant is as the bundle tells it: a metric of `METRICS` and its value, 1 being best.

    On test rows, else on validation rows; None where it tells nothing.
    """
    metrics = bundle.manifest.variant(variant).metrics
    places = [place for place in (metrics.get("test"), metrics.get("validation"), metrics) if isinstance(place, dict)]
    told = [(name, place[name]) for place in places for name in METRICS if isinstance(place.get(name), int | float)]
    return (told[0][0], float(told[0][1])) if told else None


def _sum(size: int | None, more: int | None) -> int | None:
    return None if size is None else size + (more or 0)


def _failure(code: int, stderr: bytes) -> str:
    if code < 0:
        name = signal.Signals(-code).name
        return f"its process was ended by {name}" + ("; is there enough memory?" if name == "SIGKILL" else "")
    lines = stderr.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"its process ended with code {code}"
