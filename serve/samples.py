"""samples.json: rows that a bundle carries with each variant's answers, to be checked where it arrives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from serve.bundle import SAMPLES, Bundle, read_json
from serve.errors import InputError
from serve.manifest import Manifest, OutputSpec
from serve.pieces import Encoder, Output, Prepared, Row, joined
from serve.record import Record
from serve.session import Session
from serve.tasks import task_of
from serve.tasks.task import Asked

MAX_SAMPLES_BYTES = 16 * 2**20


@dataclass(frozen=True, slots=True)
class Samples:
    """samples.json: rows, and by variant its float32 output for each, (width,) or (tokens, width), and tolerance."""

    rows: tuple[Row, ...]
    outputs: dict[str, list[Output]]
    tolerance: dict[str, float]


def prepared_rows(
    manifest: Manifest, encoder: Encoder, rows: Sequence[Row], max_length: int | None = None
) -> list[Prepared]:
    """Rows as the bundle's own adapter takes them, cut at `max_length`, where that is shorter than the bundle's."""
    task, texts = task_of(manifest.task), manifest.input.text
    return [
        task.prepare(encoder, row, Asked(texts, max_length, f"row {place}")) for place, row in enumerate(rows, start=1)
    ]


def sample_outputs(session: Session, encoder: Encoder, rows: Sequence[Prepared]) -> list[Output]:
    """Outputs as samples.json stores them, float32 (width,) or (tokens, width) each: one piece a batch.

    Alone in its batch a row is neither padded nor, in an int8 graph, scaled by its neighbours.
    """
    return [
        joined([encoder.split(session.run(encoder.pad([piece])), [piece])[0] for piece in row.pieces]) for row in rows
    ]


def read_samples(bundle: Bundle) -> Samples:
    """Read and check samples.json. Raises InputError, one line that names the key."""
    manifest = bundle.manifest
    named = f"bundle {bundle.path}: {SAMPLES}"
    record = Record(read_json(bundle.file(SAMPLES), MAX_SAMPLES_BYTES, named), named)
    rows = record.array("rows")
    outputs, tolerance = record.get("outputs", dict), record.get("tolerance", dict)
    record.end()
    names = {variant.name for variant in manifest.variants}
    if set(outputs) != names or set(tolerance) != names:
        raise InputError(f"{named}: needs outputs and a tolerance for each of {', '.join(sorted(names))}")
    if not rows:
        raise InputError(f"{named}.rows: empty; a bundle needs samples to be verified by")
    return Samples(
        rows=tuple(manifest.input.row_from_json(row, f"{named}.rows[{place}]") for place, row in enumerate(rows)),
        outputs={
            name: _outputs(value, len(rows), manifest.output, f"{named}.outputs.{name}")
            for name, value in outputs.items()
        },
        tolerance={name: _limit(value, f"{named}.tolerance.{name}") for name, value in tolerance.items()},
    )


def _outputs(value: Any, rows: int, spec: OutputSpec, where: str) -> list[Output]:
    if not spec.per_token:
        return list(_matrix(value, rows, spec.width, where))
    if not isinstance(value, list) or len(value) != rows:
        raise InputError(f"{where}: must be {rows} lists, one for each row")
    return [
        _matrix(row, len(row) if isinstance(row, list) else 1, spec.width, f"{where}[{place}]")
        for place, row in enumerate(value)
    ]


def _matrix(value: Any, rows: int, width: int, where: str) -> npt.NDArray[np.float32]:
    good = (
        isinstance(value, list)
        and len(value) == rows > 0
        and all(isinstance(row, list) and len(row) == width for row in value)
        and all(type(number) is float for row in value for number in row)
    )
    if not good:
        raise InputError(f"{where}: must be {rows} lists of {width} numbers, each with a point")
    matrix = np.array(value, dtype=np.float64)  # as float32 a number too large would warn
    if not (np.abs(matrix) < np.finfo(np.float32).max).all():
        raise InputError(f"{where}: holds a number too large for float32")
    return matrix.astype(np.float32)


def _limit(value: Any, where: str) -> float:
    if type(value) not in (int, float) or not 0 <= value <= 1e6:
        raise InputError(f"{where}: must be a number from 0 to 1e6 (got {value!r:.40})")
    return float(value)
