"""One candidate in a process of its own: loaded, asked, timed, weighed.

python -P -m serve.tune.child '{"bundle": "site.bundle", "variant": "int8", "settings": {…}, …}'
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from serve.bundle import Bundle
from serve.encoder import open_encoder
from serve.engine import open_default
from serve.errors import SvfitError
from serve.machine import give_back_memory
from serve.samples import prepared_rows, read_samples, sample_outputs
from serve.settings import Settings
from serve.tune.memory import peak, resident
from serve.tune.waiting import Waiting
from serve.verify import compare

LEAST, MOST = 10, 2000  # single rows that are timed, whatever the time
LEAST_BATCHES = 3
BATCH_SHARE = 0.3  # of the time


def main(task: dict[str, Any]) -> dict[str, Any]:
    """What was measured, ready for JSON: whether the answers are right, and then the times and the bytes.

    `task` has `bundle`, `variant`, `settings`, `seconds` to time, `batch` rows, and whether to weigh the `server` too.
    """
    bundle = Bundle.open(Path(task["bundle"]), check=False)  # the parent has checked it
    samples, encoder = read_samples(bundle), open_encoder(bundle)
    variant = bundle.manifest.variant(task["variant"])
    session, max_length = open_default(bundle, encoder, variant.name, Settings(**task["settings"]))
    give_back_memory()
    loaded = resident()
    ready = prepared_rows(bundle.manifest, encoder, samples.rows, max_length)
    check = compare(bundle.manifest, variant, samples, sample_outputs(session, encoder, ready))
    told: dict[str, Any] = {"passed": check.passed, "max_abs": check.max_abs, "tolerance": check.tolerance}
    if not check.passed:
        return told

    def answer(rows: Sequence[Any]) -> None:
        ready = prepared_rows(bundle.manifest, encoder, rows, max_length)
        session.run(encoder.pad([piece for row in ready for piece in row.pieces]))

    rows = cycle(samples.rows)
    batches = cycle([list(islice(rows, task["batch"])) for _ in samples.rows])
    began = time.process_time()
    single_ms, waited = _timed(lambda: answer([next(rows)]), task["seconds"] * (1 - BATCH_SHARE), LEAST)
    cpu_ms = 1000 * (time.process_time() - began) / len(single_ms)
    batch_ms, waited_too = _timed(lambda: answer(next(batches)), task["seconds"] * BATCH_SHARE, LEAST_BATCHES)
    waited += waited_too
    told |= {"single_ms": single_ms, "batch_ms": batch_ms, "cpu_ms": cpu_ms, **asdict(loaded), "peak": peak()}
    told["waited"] = waited / (waited + sum(single_ms) + sum(batch_ms))
    return {**told, "server": _server()} if task["server"] else told


def _server() -> dict[str, int | None]:
    """Bytes that a server without a bundle takes beside what answers; the same whatever the candidate."""
    before = resident()
    import serve.http.server  # noqa: F401  (part of what is weighed)
    from serve.config import ServeConfig
    from serve.http.app import create_app
    from serve.service import Service

    app = create_app(Service(None, None, ServeConfig()))
    app.openapi()  # routes are finished when they are first needed
    after = resident()
    return {"resident": _more(before.resident, after.resident), "own": _more(before.own, after.own)}


def _more(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else max(0, after - before)


def _timed(work: Callable[[], None], seconds: float, least: int) -> tuple[list[float], float]:
    """Milliseconds of each run less its waiting for a core, for as long as `seconds` and at least so often; and the
    milliseconds of waiting."""
    found: list[float] = []
    waiting, total = Waiting(), 0.0
    until = time.perf_counter() + seconds
    while len(found) < least or (time.perf_counter() < until and len(found) < MOST):
        before, start = waiting.ms(), time.perf_counter()
        work()
        taken = 1000 * (time.perf_counter() - start)
        waited = min(waiting.ms() - before, taken)
        found.append(taken - waited)
        total += waited
    return found, total


if __name__ == "__main__":
    try:
        sys.stdout.write(json.dumps(main(json.loads(sys.argv[1]))))
    except SvfitError as error:
        sys.exit(str(error))
