"""Does a bundle still answer as it did where it was made? Hashes, then the stored samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from serve.adapters.adapter import read_adapter
from serve.bundle import Bundle
from serve.encoder import open_encoder
from serve.engine import open_default
from serve.errors import GateError, InputError
from serve.machine import instruction_sets
from serve.manifest import Manifest, Variant
from serve.pieces import Output
from serve.samples import Samples, prepared_rows, read_samples, sample_outputs
from serve.settings import Settings

MIN_AGREEMENT = 0.9  # of int8 samples whose label must agree where the instruction sets differ
OTHER_ISA = 10.0  # int8 tolerance is this much wider there


@dataclass(frozen=True, slots=True)
class VariantCheck:
    """One variant against its stored outputs.

    `max_abs` is the largest absolute difference of a logit; `agreement` the share of samples (of tokens,
    where each has a label) with the same label (None without labels). `remark` says when the comparison was a wider
    one, and why.
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
    """A bundle whose files are as they were sealed, and what each variant answered.

    `adapters` are those that a swappable bundle was sealed with, all of which load; the first gave the answers.
    """

    bundle: str
    files: int
    checks: tuple[VariantCheck, ...]
    adapters: tuple[str, ...] = ()

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


def verify(bundle: Bundle | Path | str, *, threads: int | None = None) -> VerifyResult:
    """Check a bundle's files (a path's; an opened bundle's were checked), load every variant and every sealed adapter,
    and answer the stored samples.

    Raises InputError where a file was changed or can't be used. Differences don't raise here: they are in the
    result, and `VerifyResult.require` raises GateError for them.
    """
    bundle = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
    samples = read_samples(bundle)
    encoder = open_encoder(bundle)
    adapters = bundle.manifest.swap.adapters if bundle.manifest.swap else ()
    for adapter in adapters:
        read_adapter(bundle.path / "adapters" / adapter, bundle.manifest, named=f"{bundle.path}: adapter {adapter}")
    checks = []
    for variant in bundle.manifest.variants:
        session, max_length = open_default(bundle, encoder, variant.name, Settings(threads))
        now = sample_outputs(session, encoder, prepared_rows(bundle.manifest, encoder, samples.rows, max_length))
        checks.append(compare(bundle.manifest, variant, samples, now))
    return VerifyResult(str(bundle.path), len(bundle.manifest.files), tuple(checks), adapters)


def compare(manifest: Manifest, variant: Variant, samples: Samples, now: Sequence[Output]) -> VariantCheck:
    """Outputs of this machine, one for each sample, against those stored; wider where int8 differs by nature."""
    stored = samples.outputs[variant.name]
    tolerance = samples.tolerance[variant.name]
    pairs = list(zip(now, stored, strict=True))
    if any(one.shape != other.shape for one, other in pairs):
        raise InputError(f"bundle {manifest.name}: {variant.name} answers a sample in another shape than is stored")
    max_abs = max(float(np.abs(one - other).max()) for one, other in pairs)
    agreement: float | None = None
    if manifest.labels:
        same = [np.atleast_1d(one.argmax(-1) == other.argmax(-1)) for one, other in pairs]
        agreement = float(np.concatenate(same).mean())
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
