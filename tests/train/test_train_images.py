"""Images as a model takes them: as the device does, and varied in training alone."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from image_files import noise, saved
from PIL import Image

from pipeline.data.dataset import Split
from pipeline.data.pictures import Picture
from pipeline.tasks.words import AUGMENT
from pipeline.train import images as images_module
from pipeline.train.augment import varied
from pipeline.train.images import ForImages, ImageRows
from serve.images.pixels import load_pixels
from serve.images.spec import ImageSpec

SPEC = ImageSpec("pixel_values", 3, 8, 8, "exact", (8, 8), "bilinear", False, 1 / 255, (0.5,) * 3, (0.5,) * 3)


def split(augment: tuple[str, ...] = ()) -> Split:
    files = [saved(noise(30, 40, seed)) for seed in range(3)]
    pictures = [Picture(data, "it", hashlib.sha256(data).hexdigest(), 40, 30) for data in files]
    return Split("train", [], [0, 1, 0], "made up", "", [], pictures, augment)


def test_rows_are_what_a_device_makes_of_the_files() -> None:
    given = split()
    rows = ImageRows(SPEC, given)
    assert len(rows) == 3
    for place, picture in enumerate(given.images):
        assert np.array_equal(rows[place]["pixel_values"], load_pixels(picture.read(), SPEC, "it"))
    batch = ForImages(SPEC, "image-classification").collate([rows[0], rows[1]])
    assert batch["pixel_values"].shape == (2, 3, 8, 8)
    assert batch["pixel_values"].dtype == torch.float32
    assert batch["labels"].tolist() == [0, 1]


def test_only_training_rows_are_varied_and_a_seed_decides_how() -> None:
    given = split(("crop", "colour"))
    still, moving = ImageRows(SPEC, given), ImageRows(SPEC, given, training=True)
    assert np.array_equal(still[0]["pixel_values"], still[0]["pixel_values"])
    torch.manual_seed(1)
    first = moving[0]["pixel_values"]
    assert not np.array_equal(first, moving[0]["pixel_values"])
    torch.manual_seed(1)
    assert np.array_equal(first, moving[0]["pixel_values"])


@pytest.mark.parametrize("training", [False, True])
def test_what_does_not_fit_into_memory_is_read_again(training: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = ImageRows(SPEC, split(), training=training)
    wanted = kept[0]["pixel_values"]
    assert len(kept._kept) == 1
    monkeypatch.setattr(images_module, "KEPT_BYTES", 0)
    read = ImageRows(SPEC, split(), training=training)
    assert np.array_equal(read[0]["pixel_values"], wanted)
    assert not read._kept


def test_a_large_picture_is_kept_small_for_varying() -> None:
    data = saved(noise(100, 200))
    large = replace(split(("crop",)), images=[Picture(data, "it", hashlib.sha256(data).hexdigest(), 200, 100)])
    rows = ImageRows(SPEC, large, training=True)
    assert rows[0]["pixel_values"].shape == (3, 8, 8)
    assert max(rows._kept[0].size) == 16


@pytest.mark.parametrize("way", AUGMENT)
def test_each_way_changes_a_picture_and_keeps_it_one(way: str) -> None:
    torch.manual_seed(0)
    image = noise(30, 40)
    found = [varied(image, [way]) for _ in range(6)]
    assert all(one.mode == "RGB" and min(one.size) >= 1 for one in found)
    assert any(one.size != image.size or not np.array_equal(np.asarray(one), np.asarray(image)) for one in found)


def test_a_flip_mirrors_and_a_crop_keeps_most_of_the_picture() -> None:
    torch.manual_seed(0)
    image = noise(60, 80)
    flipped = {varied(image, ["flip"]).tobytes() for _ in range(20)}
    assert flipped == {image.tobytes(), image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).tobytes()}
    areas = [one.width * one.height / (60 * 80) for one in (varied(image, ["crop"]) for _ in range(200))]
    assert 0.5 < min(areas) < 0.7
    assert 0.95 < max(areas) <= 1


def test_a_picture_of_one_pixel_survives_everything(tmp_path: Path) -> None:
    assert varied(Image.new("RGB", (1, 1)), AUGMENT).size == (1, 1)
