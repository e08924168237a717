"""The algebra of folding on the device: the adapter goes into the weights, layer by layer, exactly."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tiny_swap import KEPT, make_swap_bundle, swap_spec, tiny_delta, tiny_parts

from serve.bundle import Bundle
from serve.errors import InputError
from serve.promotion.fold import StoredWeights, fold_weights, folded_bytes
from serve.swap import LayerSpec, SwapSpec

Arrays = dict[str, NDArray[Any]]


def sigma_of(seed: int) -> NDArray[np.float32]:
    delta = tiny_delta(seed)
    return np.concatenate([delta["first"][list(KEPT)], delta["second"]]).astype(np.float32)


def spec_of(*layers: LayerSpec) -> SwapSpec:
    width = sum(len(layer.kept) for layer in layers)
    return dataclasses.replace(swap_spec(["alpha"]), layers=layers, width=width)


def random_layer(rng: np.random.Generator, form: str, transposed: bool, size: int = 600) -> tuple[SwapSpec, Arrays]:
    """A layer of a realistic size, its factors the second of two in one tensor `down`."""
    high, kept = 384, 300
    down, up = rng.normal(size=(size, 2 * kept)), rng.normal(size=(kept, high))
    base = (
        rng.normal(size=kept) if form == "factored" else rng.normal(size=(size, high) if transposed else (high, size))
    )
    layer = LayerSpec(
        "layer",
        kept,
        tuple(range(kept)),
        form,
        "down",
        kept,
        "up",
        "base",
        "W",
        transposed,  # type: ignore[arg-type]
    )
    stored = {"down": down, "up": up, "base": base}
    return spec_of(layer), {name: value.astype(np.float32) for name, value in stored.items()}


@pytest.mark.parametrize("transposed", [True, False])
@pytest.mark.parametrize("form", ["bypass", "factored"])
def test_a_folded_weight_is_the_sum_in_float64_rounded_once(form: str, transposed: bool) -> None:
    rng = np.random.default_rng(7)
    spec, weights = random_layer(rng, form, transposed)
    sigma = rng.normal(size=300).astype(np.float32)
    wide = {name: value.astype(np.float64) for name, value in weights.items()}
    scale = sigma.astype(np.float64) + (wide["base"] if form == "factored" else 0)
    wanted = (wide["down"][:, 300:] * scale) @ wide["up"]
    if not transposed:
        wanted = wanted.T
    if form == "bypass":
        wanted = wanted + wide["base"]
    (got,) = fold_weights(spec, weights, sigma).values()
    assert (got.dtype, got.flags.c_contiguous) == (np.float32, True)
    assert np.abs(got - wanted).max() <= 1e-7 * np.abs(wanted).max()  # half a unit of float32's last place


def test_sigma_of_zeros_gives_the_base_back() -> None:
    parts = tiny_parts()
    weights = {**parts, "first.A": parts["first.A"][:, list(KEPT)], "first.B": parts["first.B"][list(KEPT)]}
    spec = swap_spec(["alpha"])
    folded = fold_weights(spec, weights, np.zeros(spec.width, dtype=np.float32))
    np.testing.assert_array_equal(folded["first.W"], parts["first.W"])
    np.testing.assert_allclose(folded["second.W"], parts["second.W"], atol=1e-6)  # from factors that were rounded


def test_nothing_that_is_handed_in_is_changed() -> None:
    spec, weights = random_layer(np.random.default_rng(1), "factored", True)
    sigma = np.ones(300, dtype=np.float32)
    before = {name: value.copy() for name, value in weights.items()}
    fold_weights(spec, weights, sigma)
    assert sigma.tolist() == [1.0] * 300
    for name, value in weights.items():
        np.testing.assert_array_equal(value, before[name])


def test_an_untouched_layer_keeps_its_weight_and_is_counted(tmp_path: Path) -> None:
    untouched = LayerSpec("third", 8, (), "untouched", "", 0, "", "third.W", "third.W", False)
    bypass, factored = swap_spec(["alpha"]).layers
    spec = spec_of(bypass, untouched, factored)
    parts = tiny_parts()
    tensors = {**parts, "first.A": parts["first.A"][:, list(KEPT)], "first.B": parts["first.B"][list(KEPT)]}
    save_file({**tensors, "third.W": np.ones((10, 6), np.float32)}, tmp_path / "weights.safetensors")
    with StoredWeights(tmp_path / "weights.safetensors") as weights:
        folded = fold_weights(spec, weights, sigma_of(1))
        assert folded_bytes(spec, weights) == 4 * (16 * 16 + 10 * 6 + 16 * 32)
    assert sorted(folded) == ["first.W", "second.W"]


def test_stored_weights_are_read_by_name_from_the_bundle_s_file(tmp_path: Path) -> None:
    bundle = Bundle.open(make_swap_bundle(tmp_path / "bundle"))
    with StoredWeights(bundle.file("weights.safetensors")) as weights:
        np.testing.assert_array_equal(weights["first.W"], tiny_parts()["first.W"])
        assert weights.shape("first.A") == (16, len(KEPT))
        assert "second.W" not in weights
        assert len(weights) == len(list(weights))
        with pytest.raises(InputError, match=r"has no tensor 'second\.W'"):
            weights.shape("second.W")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"first.W": None}, "layer first: the weights file has no matrix 'first.W'"),
        ({"second.B": None}, "layer second: the weights file has no matrix 'second.B'"),
        ({"second.s": np.ones(4)}, r"layer second: second\.s must have shape \(16,\)"),
        ({"second.s": None}, r"layer second: second\.s must have shape \(16,\)"),
        ({"first.A": np.ones((16, 3))}, "layer first: 8 directions, but its factors have 3 and 8"),
        ({"first.W": np.ones((16, 3))}, r"layer first: first\.W has shape \(16, 3\), its factors \(16, 16\)"),
    ],
)
def test_weights_that_do_not_fit_the_manifest_are_told(change: dict[str, Any], told: str) -> None:
    parts = tiny_parts()
    weights = {**parts, "first.A": parts["first.A"][:, list(KEPT)], "first.B": parts["first.B"][list(KEPT)], **change}
    present = {name: value.astype(np.float32) for name, value in weights.items() if value is not None}
    with pytest.raises(InputError, match=told):
        fold_weights(swap_spec(["alpha"]), present, sigma_of(1))


def test_a_sigma_of_another_width_is_refused() -> None:
    with pytest.raises(InputError, match=r"sigma has shape \(3,\), this bundle's is \(24,\)"):
        fold_weights(swap_spec(["alpha"]), tiny_parts(), np.zeros(3, dtype=np.float32))


def test_a_sum_beyond_float32_is_refused(tmp_path: Path) -> None:
    bundle = Bundle.open(make_swap_bundle(tmp_path / "bundle"))
    with (
        StoredWeights(bundle.file("weights.safetensors")) as weights,
        pytest.raises(InputError, match="layer first: the folded weight is beyond float32"),
    ):
        fold_weights(swap_spec(["alpha"]), {**weights, "first.A": 1e3 * weights["first.A"]}, sigma_of(1) * 1e38)


def test_a_file_that_is_no_safetensors_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "weights.safetensors").write_bytes(b"not at all")
    with pytest.raises(InputError, match="can't be read as safetensors") as caught:
        StoredWeights(tmp_path / "weights.safetensors")
    assert "\n" not in str(caught.value)
    save_file({"first.W": np.zeros(4, dtype=np.float64)}, tmp_path / "weights.safetensors")
    with (
        StoredWeights(tmp_path / "weights.safetensors") as weights,
        pytest.raises(InputError, match=r"first\.W is float64, not float32"),
    ):
        weights["first.W"]
