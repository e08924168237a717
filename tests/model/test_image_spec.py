"""What a base model's image processor does is found, said as an ImageSpec, and equal to transformers'."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import transformers
from image_files import noise
from PIL import Image

from pipeline.model.image_spec import LIMIT, image_spec
from serve.errors import InputError
from serve.images.pixels import to_pixels
from serve.images.spec import ImageSpec

PICTURES = sorted(Path("/work/shared/data/images/dreambooth").glob("*/*.png"))[::6] or [None]
HALF = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
CASES = {
    "vit": ("ViT", "ViTConfig", {**HALF}),
    "vit older": ("ViT", "ViTConfig", {**HALF, "size": 224, "resample": 3}),
    "deit": ("DeiT", "DeiTConfig", {}),
    "beit": ("Beit", "BeitConfig", {"crop_size": 224, "do_center_crop": False, **HALF}),
    "swin": ("ViT", "SwinConfig", {"resample": 3}),
    "dinov2": ("Bit", "Dinov2Config", {"size": {"shortest_edge": 256}}),
    "convnext": ("ConvNext", "ConvNextConfig", {"size": {"shortest_edge": 224}}),
    "convnext 384": ("ConvNext", "ConvNextConfig", {"size": {"shortest_edge": 384}}),
    "resnet": ("ConvNext", "ResNetConfig", {"size": {"shortest_edge": 224}, "crop_pct": 0.95}),
}


def folder_of(folder: Path, kind: str, **values: object) -> Path:
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_processor_type": kind, **values}))
    return folder


def picture(path: Path | None) -> Image.Image:
    return noise(80, 120) if path is None else Image.open(path).convert("RGB")


@pytest.mark.parametrize("case", CASES)
def test_pixels_equal_the_models_own_processor(case: str, tmp_path: Path) -> None:
    kind, config, values = CASES[case]
    folder = folder_of(tmp_path, f"{kind}ImageProcessor", **values)
    spec = image_spec(folder, getattr(transformers, config)())
    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    for path in PICTURES:
        image = picture(path)
        for shaped in (image, image.crop((0, 0, 199, 97)), image.resize((500, 611))):
            wanted = processor(shaped, return_tensors="np")["pixel_values"][0]
            assert np.abs(wanted - to_pixels(shaped, spec, "it")).max() <= 1e-6
    assert ImageSpec.from_dict(json.loads(json.dumps(spec.to_dict())), "input") == spec


def test_a_model_without_a_processor_is_resized_to_its_own_size(tmp_path: Path) -> None:
    spec = image_spec(tmp_path, transformers.ViTConfig(image_size=48, num_channels=1))
    assert (spec.shape, spec.size, spec.mean) == ((1, 48, 48), (48, 48), (0.5,))


def test_a_gray_model_keeps_gray(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "ViTImageProcessor", size={"height": 28, "width": 28}, image_mean=[0.2], image_std=[1])
    spec = image_spec(folder, transformers.ViTConfig(image_size=28, num_channels=1))
    gray = noise().convert("L")
    assert to_pixels(gray, spec, "it").shape == (1, 28, 28)


@pytest.mark.parametrize(
    ("kind", "values", "told"),
    [
        ("BitImageProcessor", {"size": {"shortest_edge": 32}, "do_center_crop": False}, "doesn't crop"),
        ("MobileViTImageProcessor", {}, "do_flip_channel_order"),
        ("LevitImageProcessor", {}, "something that svfit doesn't know"),
        ("NoSuchImageProcessor", {}, "no image processor that transformers can read"),
    ],
)
def test_a_processor_that_does_more_is_refused_by_name(
    tmp_path: Path, kind: str, values: dict[str, object], told: str
) -> None:
    with pytest.raises(InputError, match=re.escape(told)):
        image_spec(folder_of(tmp_path, kind, **values), transformers.ViTConfig())


def test_the_limit_is_what_the_issue_asks_for() -> None:
    assert LIMIT == 1e-3
