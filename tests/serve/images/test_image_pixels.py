"""The way from an RGB image to a graph's numbers, and the spec that says it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_files import noise, saved
from PIL import Image

from serve.errors import InputError, TooLarge
from serve.images.decode import Limits
from serve.images.pixels import checked_pixels, load_pixels, to_pixels
from serve.images.spec import ImageSpec

SPEC = ImageSpec(
    "pixel_values", 3, 8, 12, "exact", (8, 12), "bilinear", False, 1 / 255, (0.5, 0.4, 0.3), (0.5, 0.25, 1.0)
)


def test_values_are_scaled_and_normalized_by_channel() -> None:
    image = noise(8, 12)
    wanted = (np.asarray(image).transpose(2, 0, 1) / 255 - np.array(SPEC.mean)[:, None, None]) / np.array(SPEC.std)[
        :, None, None
    ]
    found = to_pixels(image, SPEC, "it")
    assert found.dtype == np.float32
    assert np.abs(found - wanted).max() < 1e-6


def test_bytes_and_files_give_the_same(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(saved(noise()))
    assert np.array_equal(load_pixels(path, SPEC, "it"), load_pixels(path.read_bytes(), SPEC, "it"))
    assert load_pixels(path, SPEC, "it").shape == (3, 8, 12)


def test_cropping_takes_the_centre_and_fills_with_black() -> None:
    spec = replace(SPEC, resize="none", size=(0, 0), crop=True, mean=(0.0,) * 3, std=(1.0,) * 3, rescale=1.0)
    image = noise(10, 6)
    found = to_pixels(image, spec, "it")
    assert np.array_equal(found[:, :, 3:9], np.asarray(image).transpose(2, 0, 1)[:, 1:9])
    assert not found[:, :, :3].any()
    assert not found[:, :, 9:].any()


def test_the_shorter_edge_keeps_proportions() -> None:
    spec = replace(SPEC, height=8, width=8, resize="shortest", size=(8, 8), crop=True)
    wide = Image.new("RGB", (40, 16))
    wide.paste((255, 255, 255), (12, 0, 28, 16))
    assert (to_pixels(wide, spec, "it")[:, :, 2:6] > 0).all()


def test_without_resizing_another_size_is_refused() -> None:
    spec = replace(SPEC, resize="none", size=(0, 0))
    with pytest.raises(InputError, match="it: 30 × 20 pixels; this bundle takes 12 × 8"):
        to_pixels(noise(), spec, "it")


def test_a_sliver_may_not_grow_beyond_the_limit() -> None:
    spec = replace(SPEC, height=8, width=8, resize="shortest", size=(8, 8), crop=True)
    with pytest.raises(TooLarge, match="it: 5000 × 1 is too narrow; resized it is 40000 × 8"):
        to_pixels(Image.new("RGB", (5000, 1)), spec, "it", Limits(pixels=300_000))


def test_a_clients_tensor_is_held_to_the_shape() -> None:
    good = np.zeros((3, 8, 12), np.float64)
    assert checked_pixels(good, SPEC, "it").dtype == np.float32
    for bad, told in (
        (np.zeros((3, 12, 8), np.float32), "must be float32 3×8×12 (got float32 3×12×8)"),
        (np.zeros((3, 8, 12), np.int64), "got int64"),
        (np.full((3, 8, 12), np.nan, np.float32), "NaN"),
    ):
        with pytest.raises(InputError, match=re.escape(told)):
            checked_pixels(bad, SPEC, "it")


def test_the_spec_survives_json() -> None:
    assert ImageSpec.from_dict(json.loads(json.dumps(SPEC.to_dict())), "input") == SPEC


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"channels": 2}, "input.channels: must be 3"),
        ({"height": 9000}, "more than 8192"),
        ({"mean": [0.5]}, "one number for each of 3"),
        ({"std": [0.0, 1, 1]}, "above 0"),
        ({"rescale": 1}, "input.rescale: must be a number with a point"),
        ({"mean": [1, 2, float("nan")]}, "input.mean"),
        ({"size": [8]}, "input.size"),
        ({"size": [0, 0]}, "input.size"),
        ({"resize": "none"}, "input.size"),
        ({"resize": "shortest"}, "one length for the shorter edge"),
        ({"size": [9, 9]}, "input.crop: must be true"),
        ({"resample": "sinc"}, "input.resample: must be one of nearest"),
        ({"colour": 1}, "input.colour: unknown key"),
    ],
)
def test_a_spec_that_contradicts_itself_is_refused(change: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=re.escape(told)):
        ImageSpec.from_dict({**SPEC.to_dict(), **change}, "input")
