"""samples.json: rows that a bundle carries with each variant's answers, to be checked where it arrives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from serve.bundle import SAMPLES, Bundle, read_json
from serve.errors import InputError
from serve.record import Record
from serve.session import Session
from serve.tokenize import Row, TextTokenizer

MAX_SAMPLES_BYTES = 16 * 2**20


@dataclass(frozen=True, slots=True)
class Samples:
    """samples.json: rows, and by variant its float32 outputs (rows, width) and tolerance."""

    rows: tuple[Row, ...]
    outputs: dict[str, npt.NDArray[np.float32]]
    tolerance: dict[str, float]


def sample_outputs(
    session: Session, tokenizer: TextTokenizer, rows: Sequence[Row], max_length: int | None = None
) -> npt.NDArray[np.float32]:
    """Logits as samples.json stores them, float32 (len(rows), width): one row a batch.

    Alone in its batch a row is neither padded nor, in an int8 graph, scaled by its neighbours. `max_length` is the
    adapter's own where it is shorter than the bundle's.
    """
    return np.concatenate([session.run(tokenizer.pad([tokenizer.encode(row, max_length)])) for row in rows])


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
        rows=tuple(_sample(row, manifest.input.text, f"{named}.rows[{place}]") for place, row in enumerate(rows)),
        outputs={
            name: _matrix(value, (len(rows), manifest.output.width), f"{named}.outputs.{name}")
            for name, value in outputs.items()
        },
        tolerance={name: _limit(value, f"{named}.tolerance.{name}") for name, value in tolerance.items()},
    )


def _sample(value: Any, texts: int, where: str) -> Row:
    if not isinstance(value, list) or len(value) != texts or not all(isinstance(text, str) for text in value):
        raise InputError(f"{where}: must be a list of {texts} text(s)")
    return value[0] if texts == 1 else (value[0], value[1])


def _matrix(value: Any, shape: tuple[int, int], where: str) -> npt.NDArray[np.float32]:
    rows, width = shape
    good = (
        isinstance(value, list)
        and len(value) == rows
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
