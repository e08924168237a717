"""The SVD of frozen weights, computed once a weight and kept in the store."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from export.basis import Basis, Factors, LayerBasis, tensor_sha256
from export.store import FactorStore, Stored
from pipeline.svf.randomized import TOLERANCE, randomized_svd, signed
from pipeline.svf.rank import RankSpec, choose_rank, rule_for
from pipeline.svf.weights import is_target, oriented_weight
from serve.errors import InputError, UsageError

Progress = Callable[[int, int, str], None]
EXACT = 1024
SHARE = 8


@dataclass(frozen=True)
class Solver:
    """How a weight is decomposed.

    Exact (float64) where its smaller side is at most `exact_up_to`, or where more than an eighth of its triplets are
    needed; else the first triplets by iteration until their measured error, relative to the largest singular value, is
    at most `tolerance` (`pipeline.svf.randomized.residual`), and exact after all where that would take longer. `device`
    is torch's name, or `auto`: the GPU if there is one; what doesn't fit into its memory is computed on the CPU.
    """

    exact_up_to: int = EXACT
    tolerance: float = TOLERANCE
    device: str = "auto"

    def solve(self, weight: torch.Tensor, key: str, rank: int) -> Stored:
        """At least the first `rank` triplets of `weight (out, in)`, whose hash `key` decides the random start.

        Raises `InputError` for NaN or infinity.
        """
        if self.device != "auto":
            return self._solve(weight.detach().to(self.device), key, rank)
        try:
            return self._solve(weight.detach().to("cuda" if torch.cuda.is_available() else "cpu"), key, rank)
        except torch.cuda.OutOfMemoryError:
            torch.cuda.empty_cache()
            return self._solve(weight.detach().cpu(), key, rank)

    def _solve(self, weight: torch.Tensor, key: str, rank: int) -> Stored:
        smaller = min(weight.shape)
        if smaller > self.exact_up_to and rank * SHARE <= smaller:
            refuse_non_finite(weight)
            found = randomized_svd(weight, rank, int(key[:15], 16), tolerance=self.tolerance)
            if found is not None:
                return Stored(found.factors, found.residual, self.tolerance)
        return Stored(decompose_weight(weight))


@dataclass(frozen=True)
class Decomposition:
    """A basis with its factors in memory, and what finding it cost."""

    basis: Basis
    factors: Mapping[str, Factors]
    spectra: Mapping[str, torch.Tensor]
    """The singular values of each weight that are known, `(n,)`, descending: all `min(out, in)` of them, also beyond
    the chosen rank, except where the weight is in `residuals`: there only the first."""
    seconds: float
    computed: int
    """How many weights had to be decomposed; 0 when the store held them all."""
    energy: Mapping[str, float] = field(default_factory=dict)
    """The sum of all squared singular values of each weight, also of those that aren't known: `‖W‖²` (Frobenius)."""
    residuals: Mapping[str, float] = field(default_factory=dict)
    """The measured error of each weight whose triplets aren't exact, relative to its largest singular value."""

    @property
    def randomized(self) -> int:
        """How many weights' triplets were found by iteration."""
        return len(self.residuals)

    @property
    def residual(self) -> float | None:
        """The worst of `residuals`; None where all are exact."""
        return max(self.residuals.values(), default=None)


def decompose_weight(weight: torch.Tensor) -> Factors:
    """Exact thin SVD of `weight (out, in)`, computed in float64 where it lies, given as float32 on the CPU.

    The sign of each triplet is fixed (the entry of `U` largest in size is positive), so that one LAPACK always
    gives one answer. Raises `InputError` for NaN or infinity.
    """
    refuse_non_finite(weight)
    U, S, Vh = torch.linalg.svd(weight.detach().double(), full_matrices=False)
    return signed(Factors(U, S, Vh))


def refuse_non_finite(weight: torch.Tensor) -> None:
    """Raises `InputError` for NaN or infinity."""
    if not bool(torch.isfinite(weight).all()):
        raise InputError("holds NaN or infinity and has no singular values")


def decompose(
    layers: Mapping[str, nn.Module],
    rank: RankSpec,
    store: FactorStore,
    progress: Progress | None = None,
    directions: Mapping[str, Sequence[int]] | None = None,
    *,
    solver: Solver | None = None,
) -> Decomposition:
    """The basis of `layers` (name → module) at `rank`, taking factors from the store where it has them.

    With `directions` it has only the layers named there, in the order of `layers`, and of each only those triplets
    (strictly increasing places in the whole list); `rank` is ignored then. A share of the energy or `"full"` needs
    every weight's exact SVD. A layer at a time: what is done is in the store, and isn't computed again after an
    interruption. Raises `UsageError` for a bad rank or bad directions, `InputError` for a weight without an SVD.
    """
    began = time.perf_counter()
    solver = solver or Solver()
    if directions is not None:
        layers = _named(layers, directions)
    described: dict[str, LayerBasis] = {}
    factors: dict[str, Factors] = {}
    spectra: dict[str, torch.Tensor] = {}
    energy: dict[str, float] = {}
    residuals: dict[str, float] = {}
    computed = 0
    for done, (name, module) in enumerate(layers.items()):
        weight = oriented_weight(module)
        shape = (int(weight.shape[0]), int(weight.shape[1]))
        places = None if directions is None else _places(name, directions[name], min(shape))
        needed = _needed(rank, name, min(shape)) if places is None else places[-1] + 1
        key = tensor_sha256(weight)
        stored = store.find(key, needed, solver.tolerance)
        if stored is None:
            try:
                stored = solver.solve(weight, key, needed)
            except InputError as error:
                raise InputError(f"layer {name}: {error}") from None
            stored = store.add(key, stored)
            computed += 1
        whole = stored.factors
        kept, sha256 = stored.take(places or range(choose_rank(rank, name, whole.S)))  # copies: the rest can go
        spectra[name], factors[name], energy[name] = whole.S, kept, _energy(weight)
        if stored.residual is not None:
            residuals[name] = stored.residual
        described[name] = LayerBasis(shape, kept.rank, key, sha256, places)
        if progress is not None:
            progress(done + 1, len(layers), name)
    return Decomposition(Basis(described), factors, spectra, time.perf_counter() - began, computed, energy, residuals)


def recall(model: nn.Module, basis: Basis, source: FactorStore | Mapping[str, Factors]) -> Decomposition:
    """The very basis an adapter was trained on, for a model that isn't wrapped yet; nothing is computed.

    Factors come from a store, with all singular values that it holds beside them, or are handed over; whether they are
    exact is not told. Raises `InputError` where the model lacks a layer, has other weights, or the store holds other
    factors.
    """
    modules, energy = dict(model.named_modules()), {}
    for name, layer in basis.layers.items():
        if name not in modules or not is_target(modules[name]):
            raise InputError(f"basis {basis.id[:12]} has the layer {name!r}, which this model lacks")
        if tensor_sha256(oriented_weight(modules[name])) != layer.weight_sha256:
            raise InputError(f"basis {basis.id[:12]} belongs to other base weights: layer {name} differs")
        energy[name] = _energy(oriented_weight(modules[name]))
    if not isinstance(source, FactorStore):
        return Decomposition(basis, source, {name: source[name].S for name in basis.layers}, 0.0, 0, energy)
    factors, spectra = {}, {}
    for name, own, S in source.load_with_spectra(basis):
        factors[name], spectra[name] = own, S
    return Decomposition(basis, factors, spectra, 0.0, 0, energy)


def _needed(rank: RankSpec, name: str, count: int) -> int:
    """How many of `count` triplets must be known: all of them where the rule looks at the values."""
    rule = rule_for(rank, name)
    return choose_rank(rule, name, torch.empty(count)) if type(rule) is int else count


def _energy(weight: torch.Tensor) -> float:
    return float(torch.linalg.vector_norm(weight.detach(), dtype=torch.float64)) ** 2


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
