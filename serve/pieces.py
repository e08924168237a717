"""What runs: a row's pieces, the encoder that makes them and pads them to a batch, and the outputs that come back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

Row: TypeAlias = str | tuple[str, str] | bytes | npt.NDArray[np.float32]
"""A text, a pair of texts, an image's file, or an image ready for the graph, (channels, height, width)."""
Piece: TypeAlias = npt.NDArray[Any]
"""A line of a batch: int64 (3, tokens) with ids, attention mask and types; or float32 (channels, height, width)."""
Output: TypeAlias = npt.NDArray[np.float32]
"""What a graph gives a piece: (width,), or (tokens, width) where it answers each token."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A row ready to run: its pieces (one, but for a text that is cut into windows), and what its task must know of the
    row to make an answer of their outputs."""

    pieces: tuple[Piece, ...]
    note: Any = None


class Encoder(Protocol):
    """Makes pieces of a bundle's rows. Safe to use from many threads at once."""

    def encode(self, row: Any, max_length: int | None = None) -> Piece:
        """One row. Raises InputError for one it can't take."""
        ...

    def pad(self, pieces: Sequence[Piece]) -> dict[str, npt.NDArray[Any]]:
        """Pieces to a batch: the graph's inputs by name, batch first."""
        ...

    def split(self, outputs: npt.NDArray[np.float32], pieces: Sequence[Piece]) -> list[Output]:
        """A batch's outputs, (batch, ...), to those of its pieces, without what belongs to padding."""
        ...


def length(piece: Piece) -> int:
    """What a piece counts in a batch: its tokens; an image counts 1."""
    return int(piece.shape[1]) if piece.ndim == 2 else 1


def joined(outputs: Sequence[Output]) -> Output:
    """The outputs of a row's pieces as one array."""
    return outputs[0] if len(outputs) == 1 else np.concatenate(outputs)
