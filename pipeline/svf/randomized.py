"""The first singular triplets of a large weight: block power iteration from a random start until the error is small.

Subspace iteration with Rayleigh-Ritz after Halko, Martinsson and Tropp 2011, "Finding structure with randomness"
(arXiv 0909.4061, algorithms 4.4 and 5.1), orthonormalised each time. Its powers are Chebyshev polynomials of `WᵀW`
(Zhou and Saad 2007, "A Chebyshev-Davidson algorithm for large symmetric eigenproblems"), which need the square root of
as many products where a spectrum is flat; directions that have converged are kept out of them, so that a few outliers
don't hold up the others. Products with the weight are float32 (float64 for a float64 weight), what is thin is float64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from export.basis import Factors

TOLERANCE = 1e-5
EFFORT = 16  # an exact SVD takes about as long as this many products with a square weight of its own size
ROWS = 1024  # of a weight in float64 at a time
REACH = 1e5  # how far a polynomial may raise one direction over another: float32 tells both apart still
DEGREE = 32
FLOOR, FLAT = 1e-6, 0.95  # where the cut may lie, as a share of the first squared value that has not converged


@dataclass(frozen=True)
class Randomized:
    """What the iteration ended with: `residual` is that of these very factors, `products` those with `W` and `Wᵀ`."""

    factors: Factors
    residual: float
    products: int


def randomized_svd(
    weight: torch.Tensor, rank: int, seed: int, *, tolerance: float = TOLERANCE, effort: float = EFFORT
) -> Randomized | None:
    """The first `rank` triplets of a finite `weight (out, in)`, computed where it lies, given as float32 on the CPU.

    Iterates until `residual` is at most `tolerance`; None where that would take more multiply-adds than `effort`
    products of the weight and a square matrix as wide as its smaller side. `seed` decides the start: the same on one
    machine gives the same bytes.
    """
    W = weight.detach() if weight.dtype == torch.float64 else weight.detach().float()
    width = min(rank + max(16, rank // 2), *W.shape)
    most = effort * min(W.shape) / width
    start = torch.randn(W.shape[1], width, generator=torch.Generator().manual_seed(seed), dtype=W.dtype)
    norm = float(torch.linalg.vector_norm(W, dtype=torch.float64)) or 1.0
    block = _squared(W, start.to(W.device), norm).double()
    products, degree = 2, 1
    while True:
        Q = torch.linalg.qr(block).Q
        U, S, Zh = _thin_svd((W @ Q.to(W.dtype)).double())
        V = Q @ Zh.T  # W V = U diag(S) by now, so the error is how far Wᵀ U is from V diag(S)
        back = (W.T @ U.to(W.dtype)).double()
        products += 2
        errors = torch.linalg.vector_norm(back - V * S, dim=0)
        bound = tolerance * float(S[0])
        if float(errors[:rank].max()) <= bound:
            found = signed(Factors(U[:, :rank], S[:rank], V[:, :rank].T))
            error = residual(W, found)
            if error <= tolerance:
                return Randomized(found, error, products)
        done = int((errors > bound / 2).int().argmax())
        if not float(S[done]):
            return None
        cut = min(max(float(S[-1] / S[done]) ** 2, FLOOR), FLAT)
        degree = min(2 * degree, _degree(cut))
        products += 2 * (degree - 1)
        if products >= most:
            return None
        root = float(S[done]) * math.sqrt(cut / 2)
        first = back[:, done:] / root * (S[done:] / root) - V[:, done:]
        block = torch.cat([V[:, :done], _filtered(W, V, first, root, degree, done)], 1)


def residual(weight: torch.Tensor, factors: Factors) -> float:
    """How far factors are from singular triplets of `weight (out, in)`, measured in float64.

    The largest, over the triplets, of `‖W v - s u‖` and `‖Wᵀ u - s v‖`, divided by the largest singular value: each
    triplet is an exact one of a weight that differs from `W` by about this share of its norm, and by Weyl's inequality
    `W` has a singular value this near to each `s`. 0.0 for an all-zero weight.
    """
    device = weight.device
    U, S, V = (value.to(device, torch.float64) for value in (factors.U, factors.S, factors.Vh.T))
    if not float(S[0]):
        return 0.0
    left = torch.zeros_like(S)
    back = torch.zeros_like(V)
    for first in range(0, weight.shape[0], ROWS):
        rows = weight[first : first + ROWS].detach().double()
        part = U[first : first + ROWS]
        left += (rows @ V - part * S).square().sum(0)
        back += rows.T @ part
    right = (back - V * S).square().sum(0)
    return float(torch.maximum(left, right).max().sqrt() / S[0])


def signed(factors: Factors) -> Factors:
    """The same triplets, float32 and contiguous on the CPU, each signed so that the entry of `U` largest in size is
    positive: one LAPACK always gives one answer."""
    rows = factors.U.abs().argmax(dim=0)
    signs = torch.sign(factors.U.gather(0, rows.unsqueeze(0))).squeeze(0)
    signs[signs == 0] = 1
    return Factors(
        (factors.U * signs).float().cpu().contiguous(),
        factors.S.float().cpu().contiguous(),
        (factors.Vh * signs.unsqueeze(1)).float().cpu().contiguous(),
    )


def _thin_svd(tall: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    Q, R = torch.linalg.qr(tall)
    U, S, Vh = torch.linalg.svd(R)
    return Q @ U, S, Vh


def _degree(cut: float) -> int:
    """The largest degree whose polynomial raises the first direction over those at the cut by no more than `REACH`."""
    return max(1, min(DEGREE, int(math.acosh(REACH) / math.acosh(2 / cut - 1))))


def _filtered(
    W: torch.Tensor, V: torch.Tensor, first: torch.Tensor, root: float, degree: int, done: int
) -> torch.Tensor:
    """`T(WᵀW) V`, without the columns that are `done` and what lies along them, as float64.

    `T` is the Chebyshev polynomial that stays within ±1 from 0 to `2 root²` and grows fastest beyond; `first` is that
    of degree 1.
    """
    kept = V[:, :done].to(W.dtype)
    before, now = V[:, done:].to(W.dtype), first.to(W.dtype)
    for _ in range(degree - 1):
        before, now = now, 2 * (_squared(W, now, root) - now) - before
        now -= kept @ (kept.T @ now)
    return now.double()


def _squared(W: torch.Tensor, V: torch.Tensor, root: float) -> torch.Tensor:
    """`WᵀW V / root²`, without a square that float32 couldn't hold."""
    return W.T @ ((W @ V) / root) / root
