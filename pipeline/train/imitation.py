"""Learning another model's outputs (logit matching: Ba and Caruana, arXiv 1312.6184), from a device's own inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from serve.pieces import Encoder, Output, Piece, length


class PieceRows(Dataset[dict[str, Any]]):
    """What a device runs, and the output that each is to have: float32 (width,) or (tokens, width)."""

    def __init__(self, pieces: Sequence[Piece], outputs: Sequence[Output]) -> None:
        self.pieces, self.labels = list(pieces), list(outputs)
        self._lengths = [length(piece) for piece in pieces]

    def __len__(self) -> int:
        return len(self.pieces)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"piece": self.pieces[index], "labels": self.labels[index], "length": self._lengths[index]}

    def length(self, index: int) -> int:
        return self._lengths[index]


class Imitation:
    """The squared difference to given outputs, summed over a row's (the mean of its tokens', where each has one)."""

    def __init__(self, encoder: Encoder, output: str) -> None:
        self.output, self.by_length = output, True
        self._encoder = encoder

    def collate(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        feeds = self._encoder.pad([row["piece"] for row in rows])
        batch = {name: torch.from_numpy(value) for name, value in feeds.items()}
        return {**batch, "labels": torch.from_numpy(_stacked([row["labels"] for row in rows]))}

    def losses(
        self, answer: Any, labels: torch.Tensor, *, weight: torch.Tensor | None = None, smoothing: float = 0.0
    ) -> torch.Tensor:
        known = ~labels.isnan()
        squares = torch.where(known, getattr(answer, self.output).float() - labels, 0.0).square().sum(-1)
        return squares if squares.dim() == 1 else squares.sum(1) / known[..., 0].sum(1)

    def score(self, outputs: NDArray[Any], labels: NDArray[Any]) -> dict[str, float]:
        """None: the loss says all."""
        return {}


def _stacked(outputs: Sequence[Output]) -> NDArray[np.float32]:
    """Outputs of different lengths side by side, with NaN after the end of each."""
    longest = max(output.shape[0] for output in outputs)
    if outputs[0].ndim == 1:
        return np.stack(outputs)
    stacked = np.full((len(outputs), longest, outputs[0].shape[1]), np.nan, dtype=np.float32)
    for place, output in enumerate(outputs):
        stacked[place, : len(output)] = output
    return stacked
