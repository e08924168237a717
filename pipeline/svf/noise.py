"""What the spectrum of a matrix without structure looks like: Marchenko and Pastur's law, for any shape."""

from __future__ import annotations

from functools import lru_cache

import torch

_GRID = 20_000


@lru_cache(maxsize=64)
def random_spectrum(shape: tuple[int, int]) -> torch.Tensor:
    """Singular values that a Gaussian random matrix `(out, in)` has, `(min(out, in),)`, descending, float64.

    The quantiles at `(i + 1/2) / n` of the law for the shape's ratio (Marchenko and Pastur 1967), for independent
    entries of variance `1 / max(out, in)`: only their shape says something, shares of energy and effective ranks.
    """
    few, many = min(shape), max(shape)
    ratio = few / many
    low, high = 1 - ratio**0.5, 1 + ratio**0.5
    edges = torch.linspace(low, high, _GRID + 1, dtype=torch.float64)
    s = (edges[1:] + edges[:-1]) / 2
    density = ((high**2 - s.square()) * (s.square() - low**2)).clamp(min=0).sqrt() / s
    filled = torch.cat([torch.zeros(1, dtype=torch.float64), density.cumsum(0)])
    filled = filled / filled[-1]
    wanted = (torch.arange(few, dtype=torch.float64) + 0.5) / few
    right = torch.searchsorted(filled, wanted).clamp(1, _GRID)
    left = right - 1
    part = (wanted - filled[left]) / (filled[right] - filled[left])
    return (edges[left] + part * (edges[right] - edges[left])).flip(0)
