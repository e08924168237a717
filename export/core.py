"""The core `C` of an adapter: what it may do on its basis, `y = W x + b + U C (Vh x)`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import pad

from serve.adapters.adapter import CORES
from serve.errors import InputError


@dataclass(frozen=True)
class Core:
    """`diagonal` scales directions (SVFit, arXiv 2409.05926); `banded` turns each among `bands` neighbours on either
    side too (SVFT, arXiv 2405.19597); `dense` is any `(r, r)` matrix (LoRA-XS, arXiv 2405.17604).

    Values of a layer, float32, for rank `r` and `k = bands`: `(r,)`, `(2k + 1, r)`, or `(r, r)`. Row `j` of banded
    values is the off-diagonal `d = j - k`: `C[i, i + d] = values[j, i]`; places outside of `C` are 0 and stay so.
    Raises `InputError` for an unknown kind, a banded core without bands, or bands of another core.
    """

    kind: str = "diagonal"
    bands: int = 0

    def __post_init__(self) -> None:
        if self.kind not in CORES:
            raise InputError(f"adapter core {self.kind!r} is unknown; available: {', '.join(CORES)}")
        if (self.kind == "banded") != (self.bands > 0):
            raise InputError(
                f"adapter core {self.kind} with {self.bands} bands: a banded core has at least 1, others 0"
            )

    def shape(self, rank: int) -> tuple[int, ...]:
        """The shape of a layer's values."""
        if self.kind == "banded":
            return (2 * self.bands + 1, rank)
        return (rank, rank) if self.kind == "dense" else (rank,)

    def count(self, rank: int) -> int:
        """How many of a layer's values are trained."""
        if self.kind == "banded":
            return sum(max(0, rank - abs(offset)) for offset in self._offsets())
        return rank * rank if self.kind == "dense" else rank

    def mask(self, rank: int) -> torch.Tensor:
        """Which of the values are part of `C`: bool, of `shape(rank)`."""
        inside = torch.ones(self.shape(rank), dtype=torch.bool)
        if self.kind == "banded":
            for row, offset in enumerate(self._offsets()):
                inside[row] = _reach(rank, offset)
        return inside

    def check(self, values: torch.Tensor, rank: int, where: str) -> None:
        """Raises `InputError`, begun with `where`, for values of another shape, or not 0 outside of `C`."""
        if values.shape != self.shape(rank):
            raise InputError(f"{where} has shape {tuple(values.shape)}, not {self.shape(rank)}")
        if self.kind == "banded" and bool((values.cpu() * ~self.mask(rank)).any()):
            raise InputError(f"{where}: holds values outside of its banded {rank} × {rank} matrix; they must be 0")

    def apply(self, values: torch.Tensor, inner: torch.Tensor) -> torch.Tensor:
        """`C z` for every `z` of `inner (..., r)`, in its shape; `values` of `shape(r)`, dtypes as torch promotes."""
        if self.kind == "diagonal":
            return inner * values
        if self.kind == "dense":
            return inner @ values.mT
        total = inner * values[self.bands]
        for row, offset in enumerate(self._offsets()):
            if 0 < abs(offset) < inner.shape[-1]:
                total = total + _shift(inner, offset) * values[row]
        return total

    def transposed(self, values: torch.Tensor) -> torch.Tensor:
        """The values of `Cᵀ`, in the same shape."""
        if self.kind == "diagonal":
            return values
        if self.kind == "dense":
            return values.mT
        return torch.stack([_shift(values[-1 - row], offset) for row, offset in enumerate(self._offsets())])

    def matrix(self, values: torch.Tensor) -> torch.Tensor:
        """`C` itself, `(r, r)`, in the dtype of `values`."""
        if self.kind == "dense":
            return values
        rank = values.shape[-1]
        return self.apply(values, torch.eye(rank, dtype=values.dtype, device=values.device)).mT

    def diagonal(self, values: torch.Tensor) -> torch.Tensor:
        """The diagonal of `C`, `(r,)`."""
        if self.kind == "diagonal":
            return values
        return values.diagonal() if self.kind == "dense" else values[self.bands]

    def by_direction(self, values: torch.Tensor) -> torch.Tensor:
        """The squares of `C`, shared out in halves to the two directions that each joins, `(r,)`; together `‖C‖²`."""
        squares = values.square()
        return squares if self.kind == "diagonal" else (squares.sum(0) + self.transposed(squares).sum(0)) / 2

    def take(self, values: torch.Tensor, places: Sequence[int]) -> torch.Tensor:
        """The values of `C` among the directions at these places alone, of `shape(len(places))`.

        A banded core's neighbours stay neighbours only where `places` are the first ones.
        """
        kept = values[..., list(places)]
        if self.kind == "dense":
            return kept[list(places)]
        return kept * self.mask(len(places)).to(kept.device) if self.kind == "banded" else kept

    def to_dict(self) -> dict[str, Any]:
        """What `adapter.json` says of it: `core`, and `bands` of a banded one."""
        return {"core": self.kind} | ({"bands": self.bands} if self.kind == "banded" else {})

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Core:
        """What `to_dict` gave, diagonal where nothing is said. Raises `InputError` for an unknown kind, a banded core
        without `bands` (a whole number, at least 1), or another with them."""
        kind, bands = document.get("core", "diagonal"), document.get("bands")
        if kind not in CORES:
            raise InputError(f"adapter core {str(kind)[:40]!r} is unknown; available: {', '.join(CORES)}")
        if kind == "banded" and not (type(bands) is int and bands >= 1):
            raise InputError(f"bands of a banded core: must be a whole number, at least 1 (got {repr(bands)[:40]})")
        if kind != "banded" and bands is not None:
            raise InputError(f"a {kind} core has no bands (got {repr(bands)[:40]}); only a banded one has")
        return cls(kind, bands or 0)

    def __str__(self) -> str:
        return f"banded ({self.bands} on either side)" if self.kind == "banded" else self.kind

    def _offsets(self) -> range:
        return range(-self.bands, self.bands + 1)


DIAGONAL = Core()


def _shift(values: torch.Tensor, offset: int) -> torch.Tensor:
    """`out[..., i] = values[..., i + offset]`, 0 where there is none."""
    reach = max(-values.shape[-1], min(offset, values.shape[-1]))
    return pad(values, (-reach, reach))


def _reach(rank: int, offset: int) -> torch.Tensor:
    """Where `i + offset` lies within `0 … rank - 1`: bool `(rank,)`."""
    places = torch.arange(rank) + offset
    return (places >= 0) & (places < rank)
