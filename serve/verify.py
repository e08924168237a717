"""Does a bundle still answer as it did where it was made? Hashes, then the stored samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from serve.bundle import SAMPLES, Bundle, read_json
from serve.errors import GateError, InputError
from serve.machine import instruction_sets
from serve.manifest import Manifest, Variant
from serve.record import Record
from serve.session import GraphSession, open_session
from serve.tokenize import Row, TextTokenizer

MAX_SAMPLES_BYTES = 16 * 2**20
MIN_AGREEMENT = 0.9  # of int8 samples whose label must agree where the instruction sets differ
OTHER_ISA = 10.0  # int8 tolerance is this much wider there


@dataclass(frozen=True, slots=True)
class VariantCheck:
    """One variant against its stored outputs.

    `max_abs` is the largest absolute difference of a logit; `agreement` the share of samples with the same label
    (None for regression). `remark` says when the comparison was a wider one, and why.
    """

    variant: str
    precision: str
    samples: int
    max_abs: float
    tolerance: float
    agreement: float | None
    passed: bool
    remark: str = ""


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """A bundle whose files are as they were sealed, and what each variant answered."""

    bundle: str
    files: int
    checks: tuple[VariantCheck, ...]

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)

    def require(self) -> None:
        """Raise GateError naming every variant whose answers moved."""
        failed = [
            f"{check.variant} differs by {check.max_abs:.3g} (tolerance {check.tolerance:.3g})"
            for check in self.checks
            if not check.passed
        ]
        if failed:
            raise GateError(
                f"bundle {self.bundle}: answers differ from those stored: {'; '.join(failed)};"
                " try the onnxruntime version that the manifest names, or make the bundle again"
            )


@dataclass(frozen=True, slots=True)
class Samples:
    """samples.json: rows, and by variant its float32 outputs (rows, width) and tolerance."""

    rows: tuple[Row, ...]
    outputs: dict[str, npt.NDArray[np.float32]]
    tolerance: dict[str, float]


def verify(path: Path | str, *, threads: int | None = None) -> VerifyResult:
    """Check a bundle's files, load every variant and answer the stored samples.

    Raises InputError where a file was changed or can't be used. Differences don't raise here: they are in the
    result, and `VerifyResult.require` raises GateError for them.
    """
    bundle = Bundle.open(path)
    samples = read_samples(bundle)
    tokenizer = TextTokenizer(bundle)
    checks = []
    for variant in bundle.manifest.variants:
        session = open_session(bundle, variant.name, threads=threads)
        now = sample_outputs(session, tokenizer, samples.rows)
        checks.append(_compare(bundle.manifest, variant, samples, now))
    return VerifyResult(str(bundle.path), len(bundle.manifest.files), tuple(checks))


def sample_outputs(
    session: GraphSession, tokenizer: TextTokenizer, rows: Sequence[Row]
) -> npt.NDArray[np.float32]:
    """Logits as samples.json stores them, float32 (len(rows), width): one row a batch.

    Alone in its batch a row is neither padded nor, in an int8 graph, scaled by its neighbours.
    """
    return np.concatenate([session.run(tokenizer([row])) for row in rows])


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
        rows=tuple(
            _sample(row, manifest.input.text, f"{named}.rows[{place}]") for place, row in enumerate(rows)
        ),
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
    if type(value) not in (int, float) or value < 0:
        raise InputError(f"{where}: must be a number, 0 or more (got {value!r:.40})")
    return float(value)


def _compare(
    manifest: Manifest, variant: Variant, samples: Samples, now: npt.NDArray[np.float32]
) -> VariantCheck:
    stored = samples.outputs[variant.name]
    tolerance = samples.tolerance[variant.name]
    max_abs = float(np.abs(now - stored).max())
    agreement: float | None = None
    if manifest.task == "text-classification":
        agreement = float((now.argmax(axis=1) == stored.argmax(axis=1)).mean())
    here, there = instruction_sets(), manifest.measured_on.isa
    remark = ""
    passed = max_abs <= tolerance
    if variant.precision != "fp32" and set(here) != set(there):
        # int8 products saturate in 16 bits on AVX2 and don't with VNNI: the same file answers otherwise
        tolerance *= OTHER_ISA
        passed = max_abs <= tolerance and (agreement is None or agreement >= MIN_AGREEMENT)
        remark = (
            f"made on {_told(there)}, checked on {_told(here)}: int8 arithmetic differs, so the tolerance is"
            f" {OTHER_ISA:g} times wider and {MIN_AGREEMENT:.0%} of the labels must agree"
        )
    return VariantCheck(
        variant.name, variant.precision, len(samples.rows), max_abs, tolerance, agreement, passed, remark
    )


def _told(isa: Sequence[str]) -> str:
    return "/".join(isa) or "an unknown processor"
