"""Training for a swappable bundle that is there already: its very basis, and only the directions that it carries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from export.adapter import Adapter
from export.basis import Basis, Factors
from pipeline.stages.context import Context
from serve.bundle import MANIFEST, Bundle
from serve.errors import InputError, UsageError
from serve.files import sha256_file
from serve.swap import LayerSpec


@dataclass(frozen=True)
class Onto:
    """What a bundle says of its basis. `factors` are whole in shape, zero in the directions that it doesn't carry."""

    basis: Basis
    factors: Mapping[str, Factors]
    kept: Mapping[str, tuple[int, ...]]


def read_onto(context: Context) -> Onto | None:
    """The bundle that `adapter.onto` names, or None. Raises `InputError` for another base model or a merged bundle."""
    if context.config.adapter.onto is None:
        return None
    if context.config.export.mode == "swappable":
        raise UsageError('adapter.onto trains for a bundle that is there; it goes with export.mode = "merged"')
    bundle = Bundle.open(context.config.adapter.onto)
    swap = bundle.manifest.swap
    if swap is None:
        raise InputError(f"adapter.onto: {bundle.path} is a merged bundle, which takes no other adapter")
    if bundle.manifest.base.sha256 != context.base["sha256"]:
        raise InputError(
            f"adapter.onto: {bundle.path} is built on {bundle.manifest.base.name}"
            f" ({bundle.manifest.base.sha256[:12]}), model.base is {context.base['name']}"
            f" ({context.base['sha256'][:12]})"
        )
    sealed = Adapter.load(bundle.path / "adapters" / swap.adapters[0])
    sealed_layers = {layer.name: layer for layer in swap.layers}
    factors = {}
    with safe_open(str(bundle.file(swap.weights)), framework="pt") as tensors:
        for name, layer in sealed.basis.layers.items():
            factors[name] = _factors(sealed_layers[name], layer.shape, sealed.sigma[name], tensors)
    return Onto(sealed.basis, factors, {layer.name: layer.kept for layer in swap.layers})


def onto_sha256(context: Context) -> str | None:
    """The bundle's manifest: another bundle makes the training stale."""
    onto = context.config.adapter.onto
    path = Path(onto) / MANIFEST if onto else None
    return sha256_file(path) if path is not None and path.is_file() else None


def _factors(spec: LayerSpec, shape: tuple[int, int], sigma: torch.Tensor, tensors: Any) -> Factors:
    U, Vh = torch.zeros(shape[0], spec.rank), torch.zeros(spec.rank, shape[1])
    if spec.kept:
        places = list(spec.kept)
        down = tensors.get_slice(spec.down)[:, spec.offset : spec.offset + len(places)]
        Vh[places] = down.T.contiguous()
        U[:, places] = tensors.get_tensor(spec.up).T.contiguous()
    return Factors(U, sigma, Vh)
