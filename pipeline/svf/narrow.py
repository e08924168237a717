"""A basis cut down to some of its directions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from export.basis import Basis, Factors, LayerBasis, tensor_sha256
from export.core import Core
from pipeline.svf.decompose import Decomposition
from serve.errors import InputError, UsageError


def narrowed(found: Decomposition, kept: Mapping[str, Sequence[int]], core: Core) -> Decomposition:
    """`found` with only these of each layer's directions, by their places among its own; the others' layers left out.

    The spectra stay whole; a layer that keeps all of its directions shares its factors. Raises `UsageError` where
    nothing would be left, for places that aren't strictly increasing, or for places of a banded core that aren't the
    first ones (neighbours would change); `InputError` for a layer or a direction that the basis lacks.
    """
    layers = found.basis.layers
    refuse_unknown(found.basis, kept)
    chosen = {name: list(kept[name]) for name in layers if kept.get(name)}
    if not chosen:
        raise UsageError("no direction of any layer is kept: nothing would be left of the adapters")
    for name, places in chosen.items():
        if places != sorted(set(places)):
            raise UsageError(f"layer {name}: the directions to keep must be strictly increasing")
        if core.kind == "banded" and places[-1] != len(places) - 1:
            raise UsageError(f"layer {name}: a banded core keeps its first directions, it can't lose any among them")
    factors: dict[str, Factors] = {}
    basis: dict[str, LayerBasis] = {}
    for name, places in chosen.items():
        if len(places) == layers[name].rank:
            factors[name], basis[name] = found.factors[name], layers[name]
            continue
        own, everything = found.factors[name].take(places), layers[name].places
        factors[name] = own
        basis[name] = replace(
            layers[name],
            rank=len(places),
            factors_sha256=tensor_sha256(own.U, own.S, own.Vh),
            directions=tuple(everything[place] for place in places),
        )
    return replace(
        found,
        basis=Basis(basis),
        factors=factors,
        spectra={name: found.spectra[name] for name in chosen},
        energy={name: found.energy[name] for name in chosen},
        residuals={name: error for name, error in found.residuals.items() if name in chosen},
    )


def refuse_unknown(basis: Basis, kept: Mapping[str, Sequence[int]]) -> None:
    """Raises `InputError` for a layer that the basis lacks, or a place that isn't among a layer's directions."""
    layers = basis.layers
    unknown = sorted(kept.keys() - layers.keys())
    if unknown:
        raise InputError(f"no layer {unknown[0]} in this basis; it has: {', '.join(list(layers)[:3])}, ...")
    for name, places in kept.items():
        outside = [place for place in places if not 0 <= place < layers[name].rank]
        if outside:
            raise InputError(f"layer {name}: its basis has rank {layers[name].rank}, asked for {outside[0]}")
