"""The spectrum of a matrix without structure."""

from __future__ import annotations

import pytest
import torch

from pipeline.svf.noise import random_spectrum
from pipeline.svf.rank import choose_rank, effective_rank, energy_share


@pytest.mark.parametrize("shape", [(200, 200), (400, 200), (100, 800)])
def test_a_drawn_matrix_has_the_spectrum_that_the_law_says(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    drawn, law = torch.linalg.svdvals(torch.randn(*shape, dtype=torch.float64)), random_spectrum(shape)
    count = min(shape)
    assert law.shape == (count,)
    assert bool((law.diff() <= 0).all())
    for rank in (count // 8, count // 2):
        assert energy_share(law, rank) == pytest.approx(energy_share(drawn, rank), abs=0.01)
    assert effective_rank(law) == pytest.approx(effective_rank(drawn), rel=0.01)
    assert choose_rank(0.9, "", law) == pytest.approx(choose_rank(0.9, "", drawn), abs=3)


def test_a_single_row_has_a_single_value() -> None:
    assert random_spectrum((1, 50)).shape == (1,)
    assert random_spectrum((1, 1)).shape == (1,)
