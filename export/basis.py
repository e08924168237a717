"""The basis: which singular directions of which frozen weights an adapter moves, and their identity.

A basis is not reproducible across machines (near-equal singular values rotate), so an adapter means nothing
without the very factors it was trained on. Factors live in a store on disk, a file a weight; a basis lists them
with their hashes, and `basis_id` is the hash of that list.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from serve.errors import InputError
from serve.files import sha256_json


@dataclass(frozen=True)
class Factors:
    """`r` singular triplets of a weight `(out, in)`: `U (out, r)`, `S (r,)`, `Vh (r, in)`, all float32."""

    U: torch.Tensor
    S: torch.Tensor
    Vh: torch.Tensor

    @property
    def rank(self) -> int:
        return self.S.shape[0]

    def top(self, rank: int) -> Factors:
        """The first `rank` triplets, contiguous."""
        return Factors(self.U[:, :rank].contiguous(), self.S[:rank].contiguous(), self.Vh[:rank].contiguous())

    def take(self, directions: Sequence[int]) -> Factors:
        """The triplets at these places, in that order, contiguous."""
        places = torch.tensor(list(directions), dtype=torch.long, device=self.S.device)
        return Factors(self.U[:, places].contiguous(), self.S[places].contiguous(), self.Vh[places].contiguous())


@dataclass(frozen=True)
class LayerBasis:
    """One layer of a basis: its weight's shape `(out, in)`, the rank kept, and what it was computed from.

    `directions` are the places of the `rank` triplets kept among all of the weight's, strictly increasing; None for
    the first `rank`, and made None where they are just these. Raises `ValueError` for other `directions`.
    """

    shape: tuple[int, int]
    rank: int
    weight_sha256: str
    factors_sha256: str
    directions: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.directions is None:
            return
        places = self.directions
        if not places or len(places) != self.rank or list(places) != sorted(set(places)):
            raise ValueError(f"directions of a layer of rank {self.rank} must be as many, strictly increasing")
        if places[0] < 0 or places[-1] >= min(self.shape):
            raise ValueError(f"directions of a weight {self.shape} lie between 0 and {min(self.shape) - 1}")
        if places[-1] == self.rank - 1:
            object.__setattr__(self, "directions", None)

    @property
    def places(self) -> tuple[int, ...]:
        """`directions` in full: also where they are the first `rank`."""
        return tuple(range(self.rank)) if self.directions is None else self.directions


@dataclass(frozen=True)
class Basis:
    """The layers of a basis in model order; `id` names this very basis."""

    layers: Mapping[str, LayerBasis]

    @property
    def id(self) -> str:
        return sha256_json(self.to_dict())

    @property
    def size(self) -> int:
        """Number of directions, `R`: the values that a diagonal adapter has."""
        return sum(layer.rank for layer in self.layers.values())

    def to_dict(self) -> dict[str, Any]:
        return {
            "layers": [
                {
                    "name": name,
                    "shape": list(layer.shape),
                    "rank": layer.rank,
                    "weight_sha256": layer.weight_sha256,
                    "factors_sha256": layer.factors_sha256,
                    **({} if layer.directions is None else {"directions": list(layer.directions)}),
                }
                for name, layer in self.layers.items()
            ]
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Basis:
        """Raises `InputError` where the document isn't a basis: also for a rank beyond the shape, or a hash that is
        none (hashes name files of the store)."""
        try:
            return cls({str(row["name"]): _layer_from(row) for row in document["layers"]})
        except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
            raise InputError(f"basis description is malformed: {error!r}") from None


def _layer_from(row: Mapping[str, Any]) -> LayerBasis:
    out, inp = (int(size) for size in row["shape"])
    directions = row.get("directions")
    if directions is not None and not (
        isinstance(directions, list) and all(type(place) is int for place in directions)
    ):
        raise ValueError("directions are a list of whole numbers")
    layer = LayerBasis(
        (out, inp),
        int(row["rank"]),
        str(row["weight_sha256"]),
        str(row["factors_sha256"]),
        None if directions is None else tuple(directions),
    )
    if not 1 <= layer.rank <= min(layer.shape):
        raise ValueError(f"rank {layer.rank} of a weight {layer.shape}")
    for value in (layer.weight_sha256, layer.factors_sha256):
        if not re.fullmatch("[0-9a-f]{64}", value):
            raise ValueError(f"{value!r} is no sha256")
    return layer


def tensor_sha256(*tensors: torch.Tensor) -> str:
    """Hex sha256 over dtype, shape and bytes of each tensor."""
    digest = hashlib.sha256()
    for tensor in tensors:
        flat = tensor.detach().cpu().contiguous()
        digest.update(f"{flat.dtype}{tuple(flat.shape)}".encode())
        digest.update(flat.view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
