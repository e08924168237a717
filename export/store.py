"""Where the factors of frozen weights are kept on disk: computed once a weight, shared by every task.

A weight may have several files: `<hash>.safetensors` holds all of its triplets, exact; a file such as
`<hash>.top64.1e-05.safetensors` only the first 64, found by iteration to within 1e-05. One never takes another's place,
so that an adapter trained on either keeps its basis.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from export.basis import Basis, Factors, LayerBasis, tensor_sha256
from serve.errors import InputError
from serve.files import write_bytes


def default_store() -> Path:
    """Where factors are kept: `$SVFIT_CACHE`, else `~/.cache/svfit`."""
    return Path(os.environ.get("SVFIT_CACHE") or Path.home() / ".cache" / "svfit")


@dataclass(frozen=True)
class Stored:
    """Triplets of a weight: all of them and exact where `residual` is None, else the first, with their measured error.

    Errors are relative to the largest singular value; `residual` is at most `tolerance`.
    """

    factors: Factors
    residual: float | None = None
    tolerance: float = 0.0
    sha256: str | None = None
    """The hash of `factors`, where it is known: of a file that was read, it was checked."""

    @property
    def total(self) -> int:
        """How many triplets the weight has."""
        return min(self.factors.U.shape[0], self.factors.Vh.shape[1])

    def take(self, places: Sequence[int]) -> tuple[Factors, str]:
        """A copy of the triplets at these places, strictly increasing, and its hash."""
        factors = self.factors.take(places)
        known = self.sha256 if factors.rank == self.factors.rank else None
        return factors, known or tensor_sha256(factors.U, factors.S, factors.Vh)


class FactorStore:
    """Factors on disk, safetensors files named by each weight's hash, with a hash of the factors inside."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = (root or default_store()) / "svd"

    def path(self, weight_sha256: str, rank: int | None = None, tolerance: float = 0.0) -> Path:
        """The file of all triplets, or of the first `rank` to within `tolerance`."""
        part = "" if rank is None else f".top{rank}.{tolerance!r}"
        return self.root / f"{weight_sha256}{part}.safetensors"

    def get(self, weight_sha256: str) -> Factors | None:
        """All triplets, exact; None when absent or damaged (a damaged file is computed anew)."""
        stored = _read(self.path(weight_sha256))
        return None if stored is None else stored.factors

    def find(self, weight_sha256: str, rank: int, tolerance: float) -> Stored | None:
        """At least the first `rank` triplets to within `tolerance`, or None where there are no such (whole) files.

        Of several files the one with the fewest triplets, then the loosest: a file that comes later never answers what
        an earlier one did.
        """
        return next(self.candidates(weight_sha256, rank, tolerance), None)

    def put(self, weight_sha256: str, factors: Factors) -> None:
        """Store all of a weight's triplets; a reader sees the whole file or none."""
        self.add(weight_sha256, Stored(factors))

    def add(self, weight_sha256: str, stored: Stored) -> Stored:
        """Store all or the first triplets beside what the weight has already; gives them with their hash."""
        factors, partial = stored.factors, stored.residual is not None
        tensors = {"U": factors.U, "S": factors.S, "Vh": factors.Vh}
        sha256 = tensor_sha256(*tensors.values())
        metadata = {"sha256": sha256}
        if partial:
            metadata |= {"residual": repr(stored.residual), "tolerance": repr(stored.tolerance)}
        path = self.path(weight_sha256, factors.rank if partial else None, stored.tolerance)
        write_bytes(path, save(tensors, metadata))
        return replace(stored, sha256=sha256)

    def load(self, basis: Basis) -> Iterator[tuple[str, Factors]]:
        """Each layer's factors, those of the basis's directions, a layer at a time.

        Raises `InputError` where the store lacks a layer or holds other factors than the basis names.
        """
        for name, factors, _ in self.load_with_spectra(basis):
            yield name, factors

    def load_with_spectra(self, basis: Basis) -> Iterator[tuple[str, Factors, torch.Tensor]]:
        """As `load`, each with the singular values of all triplets in the file that it is from, `(n,)`, descending."""
        for name, layer in basis.layers.items():
            yield name, *self._of(basis, name, layer)

    def _of(self, basis: Basis, name: str, layer: LayerBasis) -> tuple[Factors, torch.Tensor]:
        others = False
        for stored in self.candidates(layer.weight_sha256, layer.places[-1] + 1):
            (factors, sha256), others = stored.take(layer.places), True
            if sha256 == layer.factors_sha256:
                return factors, stored.factors.S
        if others:
            raise InputError(
                f"basis {basis.id[:12]}: the factors of layer {name} in {self.root} are another "
                "decomposition of the same weight; an adapter only applies to the basis it was trained on"
            )
        raise InputError(
            f"basis {basis.id[:12]}: no factors for layer {name} in {self.root}; "
            "run on the machine that trained the adapter, or set SVFIT_CACHE to its cache"
        )

    def candidates(self, weight_sha256: str, rank: int, tolerance: float = float("inf")) -> Iterator[Stored]:
        """Every whole file with at least `rank` triplets to within `tolerance`: parts by size, then all triplets."""
        parts = []
        for path in self.root.glob(f"{weight_sha256}.top*.safetensors"):
            named = re.fullmatch(
                r"top(\d+)\.(\d+(?:\.\d+)?(?:e-\d+)?)", path.name[len(weight_sha256) + 1 : -len(".safetensors")]
            )
            if named and int(named[1]) >= rank and float(named[2]) <= tolerance:
                parts.append((int(named[1]), -float(named[2]), path))
        for path in [*(path for _, _, path in sorted(parts)), self.path(weight_sha256)]:
            stored = _read(path)
            if stored is not None and stored.factors.rank >= rank:
                yield stored


def _read(path: Path) -> Stored | None:
    """A file's triplets, or None where it is absent or not as it was written."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
            U, S, Vh = (file.get_tensor(name) for name in ("U", "S", "Vh"))
        residual = float(metadata["residual"]) if "residual" in metadata else None
        tolerance = float(metadata.get("tolerance", 0))
    except (SafetensorError, OSError, ValueError):
        return None
    stored = Stored(Factors(U, S, Vh), residual, tolerance, tensor_sha256(U, S, Vh))
    whole = stored.sha256 == metadata.get("sha256")
    return stored if whole and (residual is not None or len(S) == stored.total) else None
