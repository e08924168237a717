"""Numbers of any size are trained at unit scale and answered in their own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pipeline.train.scale import Scale, output_layer


def test_scaled_numbers_have_mean_0_and_deviation_1() -> None:
    scaled = torch.tensor(Scale.of([990.0, 1000.0, 1010.0, 1040.0]).apply([990.0, 1000.0, 1010.0, 1040.0]))
    assert float(scaled.mean()) == pytest.approx(0, abs=1e-6)
    assert float(scaled.std(correction=0)) == pytest.approx(1)


def test_equal_numbers_are_only_shifted() -> None:
    assert Scale.of([7.0, 7.0]).apply([7.0, 8.0]) == [0.0, 1.0]


def test_the_layer_answers_in_the_numbers_own_unit() -> None:
    torch.manual_seed(0)
    layer, x, scale = nn.Linear(4, 1), torch.randn(5, 4), Scale(1000.0, 50.0)
    before = layer(x).detach()
    scale.put_into(layer)
    torch.testing.assert_close(layer(x).detach(), before * 50 + 1000, rtol=1e-6, atol=1e-3)  # float32 near 1000


def test_errors_come_back_in_the_rows_unit_and_correlation_stays() -> None:
    row = {"epoch": 1.0, "mae": 0.5, "mse": 0.5, "pearson": 0.9, "loss": 0.5}
    assert Scale(0.0, 10.0).real_units(row) == {"epoch": 1.0, "mae": 5.0, "mse": 50.0, "pearson": 0.9, "loss": 0.5}


def test_the_output_layer_is_the_last_of_the_head_with_one_output_and_a_bias() -> None:
    model = nn.ModuleDict(
        {
            "body": nn.Linear(4, 1),
            "head": nn.Sequential(nn.Linear(4, 1), nn.Linear(1, 1)),
            "tail": nn.Linear(4, 1, False),
        }
    )
    assert output_layer(model, ["head", "tail"]) is model["head"][1]  # type: ignore[index]
    assert output_layer(model, ["tail"]) is None
