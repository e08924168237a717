"""The SVD of frozen weights, computed once a weight and kept in the store."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from export.basis import Basis, Factors, LayerBasis, tensor_sha256
from export.store import FactorStore
from pipeline.svf.layer import is_linear, oriented_weight
from pipeline.svf.rank import RankSpec, choose_rank
from serve.errors import InputError, UsageError

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Decomposition:
    """A basis with its factors in memory, and what finding it cost."""

    basis: Basis
    factors: Mapping[str, Factors]
    spectra: Mapping[str, torch.Tensor]
    """All singular values of each weight, `(min(out, in),)`, also those beyond the chosen rank."""
    seconds: float
    computed: int
    """How many weights had to be decomposed; 0 when the store held them all."""


def decompose_weight(weight: torch.Tensor) -> Factors:
    """Exact thin SVD of `weight (out, in)`, computed in float64, given as float32 on the CPU.

    The sign of each triplet is fixed (the entry of `U` largest in size is positive), so that one LAPACK always
    gives one answer. Raises `InputError` for NaN or infinity.
    """
    if not bool(torch.isfinite(weight).all()):
        raise InputError("holds NaN or infinity and has no singular values")
    U, S, Vh = torch.linalg.svd(weight.detach().double(), full_matrices=False)
    rows = U.abs().argmax(dim=0)
    signs = torch.sign(U.gather(0, rows.unsqueeze(0))).squeeze(0)
    signs[signs == 0] = 1
    return Factors(
        (U * signs).float().cpu().contiguous(),
        S.float().cpu().contiguous(),
        (Vh * signs.unsqueeze(1)).float().cpu().contiguous(),
    )


def decompose(
    layers: Mapping[str, nn.Module],
    rank: RankSpec,
    store: FactorStore,
    progress: Progress | None = None,
    directions: Mapping[str, Sequence[int]] | None = None,
) -> Decomposition:
    """The basis of `layers` (name → linear module) at `rank`, taking factors from the store where it has them.

    With `directions` it has only the layers named there, in the order of `layers`, and of each only those triplets
    (strictly increasing places in the whole list); `rank` is ignored then. A layer at a time. Raises `UsageError` for
    a bad rank or bad directions, `InputError` for a weight without an SVD.
    """
    began = time.perf_counter()
    if directions is not None:
        layers = _named(layers, directions)
    described: dict[str, LayerBasis] = {}
    factors: dict[str, Factors] = {}
    spectra: dict[str, torch.Tensor] = {}
    computed = 0
    for done, (name, module) in enumerate(layers.items()):
        weight = oriented_weight(module)
        key = tensor_sha256(weight)
        full = store.get(key)
        if full is None:
            try:
                full = decompose_weight(weight)
            except InputError as error:
                raise InputError(f"layer {name}: {error}") from None
            store.put(key, full)
            computed += 1
        places = None if directions is None else _places(name, directions[name], full.rank)
        kept = full.top(choose_rank(rank, name, full.S)) if places is None else full.take(places)
        spectra[name], factors[name] = full.S, kept
        described[name] = LayerBasis(
            (int(weight.shape[0]), int(weight.shape[1])),
            kept.rank,
            key,
            tensor_sha256(kept.U, kept.S, kept.Vh),
            places,
        )
        if progress is not None:
            progress(done + 1, len(layers), name)
    return Decomposition(Basis(described), factors, spectra, time.perf_counter() - began, computed)


def recall(model: nn.Module, basis: Basis, source: FactorStore | Mapping[str, Factors]) -> Decomposition:
    """The very basis an adapter was trained on, for a model that isn't wrapped yet; nothing is computed.

    Factors come from a store, or are handed over. The spectra are those of the directions the basis keeps. Raises
    `InputError` where the model lacks a layer, has other weights, or the store holds other factors.
    """
    modules = dict(model.named_modules())
    for name, layer in basis.layers.items():
        if name not in modules or not is_linear(modules[name]):
            raise InputError(f"basis {basis.id[:12]} has the linear layer {name!r}, which this model lacks")
        if tensor_sha256(oriented_weight(modules[name])) != layer.weight_sha256:
            raise InputError(f"basis {basis.id[:12]} belongs to other base weights: layer {name} differs")
    factors = dict(source.load(basis)) if isinstance(source, FactorStore) else source
    return Decomposition(basis, factors, {name: factors[name].S for name in basis.layers}, 0.0, 0)


def _named(layers: Mapping[str, nn.Module], directions: Mapping[str, Sequence[int]]) -> dict[str, nn.Module]:
    unknown = [name for name in directions if name not in layers]
    if unknown:
        raise UsageError(f"directions of {unknown[0]!r}: no such layer; available: {', '.join(layers)}")
    if not directions:
        raise UsageError("no layer has a direction chosen: nothing would be trained")
    return {name: layer for name, layer in layers.items() if name in directions}


def _places(name: str, chosen: Sequence[int], count: int) -> tuple[int, ...]:
    places = tuple(int(place) for place in chosen)
    if not places or list(places) != sorted(set(places)) or not 0 <= places[0] <= places[-1] < count:
        raise UsageError(f"directions of {name!r}: must be strictly increasing, at least one, from 0 to {count - 1}")
    return places
