"""The example of images: its configuration is valid and its pictures are what it says."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from pipeline.config import load
from pipeline.data.images import load_images

FOLDER = Path(__file__).resolve().parents[1] / "examples" / "pictures"


def test_the_configuration_is_valid() -> None:
    config = load(FOLDER / "pictures.toml")
    assert config.data.task == "image-classification"
    assert config.data.augment == ["crop", "flip", "rotate", "colour"]


def test_the_pictures_are_drawn_into_a_folder_that_can_be_learned_from(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("draw", FOLDER / "draw.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.write(tmp_path / "drawn", {"train": 4, "test": 2})
    found = load_images(train=tmp_path / "drawn", validation_share=0.25)
    assert found.labels == ("circle", "square", "triangle")
    assert [len(split.images) for split in found.splits()] == [9, 3, 6]
    assert len({picture.sha256 for split in found.splits() for picture in split.images}) == 18
