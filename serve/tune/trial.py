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


def measure(bundle: Bundle, candidate: Candidate, seconds: float, batch: int = BATCH) -> Measured:
    """Load the candidate in a process of its own, check its answers, and time it for about `seconds`.

    A candidate that can't be loaded, answers otherwise than was stored, or crashes has a `problem`.
    """
    task = {
        "bundle": str(bundle.path.resolve()),
        "variant": candidate.variant,
        "settings": asdict(candidate.settings),
        "seconds": seconds,
        "batch": batch,
    }
    accuracy = accuracy_of(bundle, candidate.variant)
    # -P: a folder named serve where the command was given is no part of this program
    command = [sys.executable, "-P", "-m", "serve.tune.child", json.dumps(task)]
    try:
        done = subprocess.run(  # noqa: S603
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds + PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        problem = f"took more than {seconds + PATIENCE:.0f} s to load and answer"
        return Measured(candidate, accuracy=accuracy, problem=problem)
    if done.returncode:
        return Measured(candidate, accuracy=accuracy, problem=_failure(done.returncode, done.stderr))
    found: dict[str, Any] = json.loads(done.stdout)
    if not found["passed"]:
        problem = f"answers otherwise here: differs by {found['max_abs']:.3g}, allowed {found['tolerance']:.3g}"
        return Measured(candidate, max_abs=found["max_abs"], accuracy=accuracy, problem=problem)
    return Measured(
        candidate,
        tuple(found["single_ms"]),
        tuple(found["batch_ms"]),
        batch,
        found["cpu_ms"],
        found["resident"],
        found["own"],
        found["peak"],
        found["max_abs"],
        accuracy,
    )


def accuracy_of(bundle: Bundle, variant: str) -> float | None:
    """A variant's accuracy of 0 to 1 as the bundle tells it: on test rows, else on validation rows; None for none."""
    metrics = bundle.manifest.variant(variant).metrics
    for place in (metrics.get("test"), metrics.get("validation"), metrics):
        if isinstance(place, dict) and isinstance(place.get("accuracy"), int | float):
            return float(place["accuracy"])
    return None


def _failure(code: int, stderr: bytes) -> str:
    if code < 0:
        name = signal.Signals(-code).name
        return f"its process was ended by {name}" + ("; is there enough memory?" if name == "SIGKILL" else "")
    lines = stderr.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"its process ended with code {code}"
