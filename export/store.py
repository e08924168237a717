"""Where the factors of frozen weights are kept on disk: computed once a weight, shared by every task."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from export.basis import Basis, Factors, tensor_sha256
from serve.errors import InputError
from serve.files import write_bytes


def default_store() -> Path:
    """Where factors are kept: `$SVFIT_CACHE`, else `~/.cache/svfit`."""
    return Path(os.environ.get("SVFIT_CACHE") or Path.home() / ".cache" / "svfit")


class FactorStore:
    """Full-rank factors on disk, one safetensors file for each weight's hash, with a hash of the factors inside."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = (root or default_store()) / "svd"

    def path(self, weight_sha256: str) -> Path:
        return self.root / f"{weight_sha256}.safetensors"

    def get(self, weight_sha256: str) -> Factors | None:
        """The stored factors, or None when absent or damaged (a damaged file is computed anew)."""
        path = self.path(weight_sha256)
        if not path.is_file():
            return None
        try:
            with safe_open(path, framework="pt") as file:
                named = (file.metadata() or {}).get("sha256")
                U, S, Vh = (file.get_tensor(name) for name in ("U", "S", "Vh"))
        except (SafetensorError, OSError):
            return None
        return Factors(U, S, Vh) if tensor_sha256(U, S, Vh) == named else None

    def put(self, weight_sha256: str, factors: Factors) -> None:
        """Store factors; a reader sees the whole file or none."""
        tensors = {"U": factors.U, "S": factors.S, "Vh": factors.Vh}
        metadata = {"sha256": tensor_sha256(*tensors.values())}
        write_bytes(self.path(weight_sha256), save(tensors, metadata))

    def load(self, basis: Basis) -> Iterator[tuple[str, Factors]]:
        """Each layer's factors, those of the basis's directions, a layer at a time.

        Raises `InputError` where the store lacks a layer or holds other factors than the basis names.
        """
        for name, layer in basis.layers.items():
            stored = self.get(layer.weight_sha256)
            if stored is None:
                raise InputError(
                    f"basis {basis.id[:12]}: no factors for layer {name} in {self.root}; "
                    "run on the machine that trained the adapter, or set SVFIT_CACHE to its cache"
                )
            factors = layer.of(stored)
            if tensor_sha256(factors.U, factors.S, factors.Vh) != layer.factors_sha256:
                raise InputError(
                    f"basis {basis.id[:12]}: the factors of layer {name} in {self.root} are another "
                    "decomposition of the same weight; an adapter only applies to the basis it was trained on"
                )
            yield name, factors
