"""The lift: diagonal adapters whose directions differ, on one basis that has them all, with zeros in between."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence

import torch

from export.adapter import Adapter
from export.basis import Basis, LayerBasis
from export.store import FactorStore, Stored
from serve.errors import InputError


def same_directions(adapters: Mapping[str, Adapter]) -> bool:
    """Whether all stand on one basis already, each layer of which keeps its first directions."""
    bases = [adapter.basis for adapter in adapters.values()]
    plain = all(layer.directions is None for basis in bases for layer in basis.layers.values())
    return plain and len({basis.id for basis in bases}) == 1


def lift(adapters: Mapping[str, Adapter], store: FactorStore) -> dict[str, Adapter]:
    """The same maps, exactly, on the basis of all stored directions of all layers that any of the adapters has.

    What an adapter's own basis lacks is 0 in it. Adapters come by name. Raises `InputError` for one whose core isn't
    diagonal, layers whose weights differ between adapters, and factors that the store lacks or has otherwise.
    """
    for name, adapter in adapters.items():
        if adapter.core.kind != "diagonal":
            raise InputError(f"{name}: only a diagonal adapter can be lifted into another basis, not a {adapter.core}")
    layers: dict[str, LayerBasis] = {}
    sigma: dict[str, torch.Tensor] = {}
    for layer in _order([list(adapter.basis.layers) for adapter in adapters.values()]):
        owners = {
            name: adapter.basis.layers[layer] for name, adapter in adapters.items() if layer in adapter.basis.layers
        }
        (first, own), *others = owners.items()
        for name, other in others:
            if other.weight_sha256 != own.weight_sha256:
                raise InputError(f"{name} and {first} were trained on other base weights: layer {layer} differs")
        whole = _whole(owners.values(), store)
        if whole is None:
            raise InputError(
                f"no factors of layer {layer} in {store.root} are those that {' and '.join(owners)} were trained on; "
                "run on the machine that trained them, or set SVFIT_CACHE to its cache"
            )
        factors, digest = whole.take(range(whole.factors.rank))
        layers[layer] = LayerBasis(own.shape, factors.rank, own.weight_sha256, digest)
        sigma[layer] = factors.S
    basis = Basis(layers)
    return {name: _lifted(adapter, basis, sigma) for name, adapter in adapters.items()}


def _whole(owners: Collection[LayerBasis], store: FactorStore) -> Stored | None:
    """The stored factors of a weight, all or the first ones, that all of its owners took theirs from."""
    weight = next(iter(owners)).weight_sha256
    found = store.candidates(weight, 1 + max(layer.places[-1] for layer in owners))
    return next((stored for stored in found if all(_from(layer, stored) for layer in owners)), None)


def _from(layer: LayerBasis, stored: Stored) -> bool:
    _, sha256 = stored.take(layer.places)
    return sha256 == layer.factors_sha256


def _lifted(adapter: Adapter, basis: Basis, sigma: Mapping[str, torch.Tensor]) -> Adapter:
    delta = {name: torch.zeros(layer.rank) for name, layer in basis.layers.items()}
    for name, own in adapter.basis.layers.items():
        delta[name][list(own.places)] = adapter.delta[name]
    return dataclasses.replace(adapter, basis=basis, delta=delta, sigma=dict(sigma))


def _order(lists: Sequence[Sequence[str]]) -> list[str]:
    """All names, each list's order kept where the lists agree: the longest list, the others' names put in after what
    goes before them there."""
    longest, *others = sorted(lists, key=len, reverse=True)
    order = list(longest)
    for names in others:
        place = 0
        for name in names:
            if name not in order:
                order.insert(place, name)
            place = order.index(name) + 1
    return order
