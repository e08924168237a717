"""The rows of a report about layers."""

from __future__ import annotations

import math

import pytest
import torch

from export.adapter import Adapter
from export.basis import Basis, LayerBasis
from export.core import Core
from pipeline.svf.inspect import layer_spectra, sample_index
from serve.errors import InputError


def adapter(delta: list[float], sigma: list[float]) -> Adapter:
    rank = len(delta)
    basis = Basis({"layer": LayerBasis((200, 100), rank, "w", "f")})
    return Adapter(basis, {"layer": torch.tensor(delta)}, {"layer": torch.tensor(sigma)}, {}, {})


def energy(spectrum: torch.Tensor) -> dict[str, float]:
    return {"layer": float(spectrum.double().square().sum())}


def test_a_row_holds_spectrum_and_movement() -> None:
    spectrum = torch.linspace(10, 0.1, 100)
    found = layer_spectra(adapter([0.5, -2.0, 0.0], spectrum[:3].tolist()), {"layer": spectrum}, energy(spectrum))[0]
    assert found["shape"] == [200, 100]
    assert found["rank"] == 3
    assert found["energy"] == pytest.approx(float(spectrum[:3].square().sum() / spectrum.square().sum()))
    assert 1 < found["effective_rank"] <= 100
    assert found["delta_rms"] == pytest.approx(math.sqrt(4.25 / 3))
    assert found["delta_max"] == 2.0
    assert [row["index"] for row in found["top"]] == [1, 0]
    assert found["top"][0]["became"] == pytest.approx(float(spectrum[1]) - 2)
    assert len(found["spectrum"]) == len(found["moved"]) == len(found["index"]) == 64
    assert found["index"][0] == 0
    assert found["index"][-1] == 99
    assert found["spectrum"][-1] == pytest.approx(0.1)
    assert found["moved"][0] == 0.5
    assert all(value == 0 for index, value in zip(found["index"], found["moved"], strict=True) if index > 2)


def test_the_top_is_five_at_most() -> None:
    spectrum = torch.linspace(10, 1, 9)
    found = layer_spectra(adapter([0.1] * 9, spectrum.tolist()), {"layer": spectrum}, energy(spectrum), points=4)[0]
    assert [row["index"] for row in found["top"]] == [0, 1, 2, 3, 4]
    assert len(found["spectrum"]) == 4


def test_directions_from_anywhere_stand_at_their_places() -> None:
    spectrum = torch.linspace(10, 1, 10)
    basis = Basis({"layer": LayerBasis((20, 10), 3, "w", "f", (1, 4, 9))})
    learned = Adapter(basis, {"layer": torch.tensor([0.5, -2.0, 0.0])}, {"layer": spectrum[[1, 4, 9]]}, {}, {})
    found = layer_spectra(learned, {"layer": spectrum}, energy(spectrum))[0]
    assert found["energy"] == pytest.approx(float(spectrum[[1, 4, 9]].square().sum() / spectrum.square().sum()))
    assert found["moved"] == [0, 0.5, 0, 0, 2.0, 0, 0, 0, 0, 0]
    assert found["scattered"]
    few = layer_spectra(learned, {"layer": spectrum}, energy(spectrum), points=3)[0]
    assert (few["index"], few["moved"]) == ([0, 4, 9], [0.5, 2.0, 0.0])  # none of those between is lost
    assert [row["index"] for row in found["top"]] == [4, 1]
    assert found["top"][0]["became"] == pytest.approx(float(spectrum[4]) - 2)


def test_a_direction_of_another_core_moves_by_what_it_takes_part_in() -> None:
    spectrum = torch.tensor([4.0, 3.0, 2.0])
    basis = Basis({"layer": LayerBasis((20, 3), 2, "w", "f")})
    dense = torch.tensor([[0.0, 3.0], [4.0, -1.0]])
    found = layer_spectra(
        Adapter(basis, {"layer": dense}, {"layer": spectrum[:2]}, {}, {}, core=Core("dense")),
        {"layer": spectrum},
        energy(spectrum),
    )[0]
    assert found["moved"] == pytest.approx([math.sqrt(12.5), math.sqrt(13.5), 0])
    assert found["delta_rms"] == pytest.approx(math.sqrt(26 / 4))
    assert found["delta_max"] == 4.0
    assert [(row["index"], row["was"], row["became"]) for row in found["top"]] == [(1, 3.0, 2.0), (0, 4.0, 4.0)]
    banded = torch.tensor([[0.0, 4.0], [0.0, -1.0], [3.0, 0.0]])
    same = layer_spectra(
        Adapter(basis, {"layer": banded}, {"layer": spectrum[:2]}, {}, {}, core=Core("banded", 1)),
        {"layer": spectrum},
        energy(spectrum),
    )[0]
    assert same == found


def test_of_a_large_weight_only_the_top_may_be_known() -> None:
    spectrum = torch.linspace(10, 0.1, 100)
    found = layer_spectra(adapter([0.5, -2.0, 0.0], spectrum[:3].tolist()), {"layer": spectrum[:8]}, energy(spectrum))[
        0
    ]
    assert found["energy"] == pytest.approx(float(spectrum[:3].square().sum() / spectrum.square().sum()))
    assert found["effective_rank"] is None
    assert len(found["spectrum"]) == 8


@pytest.mark.parametrize("spectra", [{}, {"layer": torch.ones(2)}])
def test_a_spectrum_that_lacks_values_is_refused(spectra: dict[str, torch.Tensor]) -> None:
    with pytest.raises(InputError, match=r"layer layer: .* of the 3 singular values"):
        layer_spectra(adapter([0.5, -2.0, 0.0], [3.0, 2.0, 1.0]), spectra, {})


@pytest.mark.parametrize(("count", "points"), [(1, 64), (64, 64), (65, 64), (384, 64), (5, 1)])
def test_sampled_indices_ascend_and_stay_in_range(count: int, points: int) -> None:
    index = list(sample_index(count, points))
    assert index == sorted(set(index))
    assert len(index) == min(count, points)
    assert index[0] == 0
    assert index[-1] == count - 1 or points == 1
