"""The iteration's triplets against the exact ones, and that its stated error is the true one."""

from __future__ import annotations

import pytest
import torch

import pipeline.svf.randomized as randomized_module
from export.basis import Factors
from pipeline.svf.decompose import decompose_weight
from pipeline.svf.randomized import TOLERANCE, Randomized, randomized_svd, residual

RANK = 12


def weight(out: int, inp: int, spectrum: str, seed: int = 0) -> torch.Tensor:
    """`(out, in)` float64 with singular values that fall as a power of their place, or a Gaussian's, that hardly do."""
    torch.manual_seed(seed)
    normal = torch.randn(out, inp, dtype=torch.float64)
    if spectrum == "gaussian":
        return normal
    U, S, Vh = torch.linalg.svd(normal, full_matrices=False)
    return (U * torch.arange(1, len(S) + 1) ** -float(spectrum)) @ Vh


def solved(W: torch.Tensor, rank: int = RANK, tolerance: float = TOLERANCE) -> Randomized:
    found = randomized_svd(W, rank, 7, tolerance=tolerance, effort=1000)
    assert found is not None
    return found


def error(W: torch.Tensor, factors: Factors) -> float:
    """The definition, written out anew."""
    U, S, Vh = factors.U.double(), factors.S.double(), factors.Vh.double()
    errors = []
    for place in range(len(S)):
        u, s, v = U[:, place], S[place], Vh[place]
        errors += [float((W.double() @ v - s * u).norm()), float((W.double().T @ u - s * v).norm())]
    return max(errors) / (float(S[0]) or 1.0)


@pytest.mark.parametrize("spectrum", ["gaussian", "0.2", "0.5", "1", "3"])
@pytest.mark.parametrize("shape", [(150, 90), (90, 150), (120, 120)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_stated_error_is_true_and_below_the_tolerance(
    shape: tuple[int, int], spectrum: str, dtype: torch.dtype
) -> None:
    W = weight(*shape, spectrum).to(dtype)
    found = solved(W)
    assert found.residual <= TOLERANCE
    assert found.residual == pytest.approx(error(W, found.factors), rel=1e-6, abs=1e-12)
    exact = torch.linalg.svdvals(W.double())[:RANK]
    assert float((found.factors.S.double() - exact).abs().max()) <= TOLERANCE * float(exact[0]), "Weyl's inequality"


@pytest.mark.parametrize("spectrum", ["gaussian", "0.5"])
def test_the_triplets_are_those_of_the_exact_decomposition(spectrum: str) -> None:
    W = weight(150, 90, spectrum)
    found, exact = solved(W).factors, decompose_weight(W).top(RANK)
    gap = float((exact.S[:-1] - exact.S[1:]).min() / exact.S[0])
    for name in ("U", "Vh"):  # Davis and Kahan: the error over the gap, the signs being fixed
        torch.testing.assert_close(getattr(found, name), getattr(exact, name), rtol=0, atol=3 * TOLERANCE / gap)
    eye = torch.eye(RANK)
    torch.testing.assert_close(found.U.T @ found.U, eye, rtol=0, atol=1e-6)  # float32's rounding
    torch.testing.assert_close(found.Vh @ found.Vh.T, eye, rtol=0, atol=1e-6)
    assert bool((found.S[:-1] >= found.S[1:]).all())
    assert all(value.is_contiguous() and value.dtype == torch.float32 for value in (found.U, found.S, found.Vh))


def test_a_looser_tolerance_takes_fewer_products_and_a_tight_one_more() -> None:
    W = weight(150, 90, "gaussian").float()
    loose, tight = solved(W, tolerance=1e-2), solved(W, tolerance=1e-6)
    assert loose.products < tight.products
    assert 1e-6 < loose.residual <= 1e-2
    assert tight.residual <= 1e-6


def test_what_would_cost_more_than_the_effort_is_none() -> None:
    W = weight(150, 90, "gaussian").float()
    needed = solved(W).products
    width = RANK + 16
    enough = needed * width / 90
    assert randomized_svd(W, RANK, 7, effort=enough * 1.5) is not None
    assert randomized_svd(W, RANK, 7, effort=enough / 2) is None


def test_an_unreachable_tolerance_ends() -> None:
    assert randomized_svd(weight(60, 60, "gaussian").float(), 5, 7, tolerance=0.0) is None


def test_one_seed_gives_the_same_bytes_and_another_gives_others() -> None:
    W = weight(80, 60, "0.5").float()
    first, again, other = (randomized_svd(W, 5, seed) for seed in (3, 3, 4))
    assert first is not None
    assert again is not None
    assert other is not None
    assert all(torch.equal(getattr(first.factors, name), getattr(again.factors, name)) for name in ("U", "S", "Vh"))
    assert not torch.equal(first.factors.U, other.factors.U)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_the_scale_of_a_weight_doesn_t_matter(scale: float) -> None:
    found = solved(weight(60, 50, "0.5").float() * scale)
    assert found.residual <= TOLERANCE
    assert float(found.factors.S[0]) == pytest.approx(scale, rel=1e-5)


@pytest.mark.parametrize(
    ("W", "values"),
    [
        (torch.zeros(60, 50), [0.0] * 6),
        (torch.eye(60, 50), [1.0] * 6),
        (torch.diag(torch.tensor([4.0, 2.0] + [0.0] * 48)), [4.0, 2.0, 0.0, 0.0, 0.0, 0.0]),
        (torch.diag(torch.tensor([1.0] * 40 + [0.5] * 40)), [1.0] * 6),
        (torch.diag(torch.tensor([1e4] + [1.0] * 59)), [1e4] + [1.0] * 5),
    ],
    ids=["zero", "identity", "rank 2", "two plateaus", "an outlier"],
)
def test_a_degenerate_weight_has_triplets_too(W: torch.Tensor, values: list[float]) -> None:
    found = solved(W, rank=6)
    torch.testing.assert_close(found.factors.S, torch.tensor(values), rtol=1e-5, atol=1e-5 * max(values))
    assert found.residual == pytest.approx(error(W, found.factors), rel=1e-6, abs=1e-12)
    assert found.residual <= TOLERANCE
    torch.testing.assert_close(found.factors.U.T @ found.factors.U, torch.eye(6), rtol=0, atol=1e-6)


def test_outliers_do_not_hold_up_the_others() -> None:
    W = weight(150, 150, "gaussian")
    U, S, Vh = torch.linalg.svd(W)
    alone = solved(W.float())
    S[:3] = torch.tensor([50.0, 30.0, 10.0]) * S[0]
    assert solved(((U * S) @ Vh).float()).products <= 1.5 * alone.products


def test_the_error_is_that_of_the_factors_handed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(randomized_module, "ROWS", 7)  # rows in blocks, the last one shorter
    W = weight(30, 20, "0.5")
    exact = decompose_weight(W).top(5)
    assert residual(W, exact) < 1e-7
    turned = Factors(exact.U.roll(1, 1), exact.S, exact.Vh)
    assert residual(W, turned) == pytest.approx(error(W, turned), rel=1e-6)
    assert residual(W, turned) > 1
    left, right = exact.U.clone(), exact.Vh.clone()
    left[:, 0], right[0] = left[:, 0] * 1.5, right[0] * 1.5
    assert residual(W, Factors(left, exact.S, exact.Vh)) == pytest.approx(0.5, rel=1e-5)
    assert residual(W, Factors(exact.U, exact.S, right)) == pytest.approx(0.5, rel=1e-5)
