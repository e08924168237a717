"""What a base model's own image processor does, said as an `ImageSpec`, and held to it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from transformers import AutoImageProcessor, PretrainedConfig

from serve.errors import InputError
from serve.images.pixels import to_pixels
from serve.images.spec import RESAMPLES, ImageSpec

LIMIT = 1e-3
"""The most that a pixel may differ from what transformers' processor gives, in units of the graph's input."""
INPUT = "pixel_values"
PROCESSOR = "preprocessor_config.json"
CROP = 224 / 256
"""ConvNeXt's share of the resized image that is kept, where its configuration doesn't say."""
_SIZES = ((37, 61), (150, 90), (64, 64))  # height × width of the pictures that both are asked for
_UNKNOWN = ("do_pad", "do_flip_channel_order", "do_split_image", "rescale_offset", "do_grayscale")


def image_spec(folder: Path, config: PretrainedConfig) -> ImageSpec:
    """How images become the input of the model in `folder`.

    From its preprocessor_config.json; without one, bilinear to the size that `config` names, scaled to -1 … 1.
    Raises InputError for a processor that does what an `ImageSpec` can't say, which is measured: on pictures of three
    sizes both must agree to within 1e-3.
    """
    channels = int(getattr(config, "num_channels", 3))
    if not (folder / PROCESSOR).is_file():
        return _plain(config, channels)
    try:
        processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    except (OSError, ValueError, ImportError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"{folder}: no image processor that transformers can read ({reason})") from None
    kind = type(processor).__name__
    spec = _from_values(processor.to_dict(), kind, channels, hasattr(processor, "crop_pct"))
    spec.check(f"model.base: {kind}")
    worst = max(_difference(processor, spec, size) for size in _SIZES)
    if not worst <= LIMIT:
        raise InputError(
            f"model.base: images prepared as {kind} says differ by {worst:.3g} from what svfit would prepare on a"
            f" device; at most {LIMIT:g} is allowed, so this processor does something that svfit doesn't know"
        )
    return spec


def _plain(config: PretrainedConfig, channels: int) -> ImageSpec:
    found = getattr(config, "image_size", None)
    sizes = [found, found] if isinstance(found, int) else list(found or (224, 224))
    height, width = int(sizes[0]), int(sizes[1])
    half = (0.5,) * channels
    return ImageSpec(
        INPUT, channels, height, width, "exact", (height, width), "bilinear", False, 1 / 255, mean=half, std=half
    )


def _from_values(values: Mapping[str, Any], kind: str, channels: int, cropped_by_share: bool) -> ImageSpec:
    for key in _UNKNOWN:
        if values.get(key):
            raise InputError(f"model.base: {kind} has {key} = {values[key]!r}, which svfit can't do on a device")
    size = dict(values.get("size") or {})
    crop = values.get("crop_size") if values.get("do_center_crop") else None
    resize: Literal["exact", "shortest", "none"]
    if not values.get("do_resize", True):
        resize, to = "none", (0, 0)
        target = _pair(crop or size, kind)
    elif cropped_by_share:
        edge = int(size.get("shortest_edge") or 0)
        target = (edge, edge)
        resize = "exact" if edge >= 384 else "shortest"
        to = target if edge >= 384 else (int(edge / float(values.get("crop_pct") or CROP)),) * 2
        crop = crop or (target if edge < 384 else None)
    elif size.get("shortest_edge") and not size.get("longest_edge"):
        resize, to = "shortest", (int(size["shortest_edge"]),) * 2
        if crop is None:
            raise InputError(f"model.base: {kind} resizes the shorter edge and doesn't crop, so images differ in size")
        target = _pair(crop, kind)
    else:
        resize, to = "exact", _pair(size, kind)
        target = _pair(crop, kind) if crop else to
    rescale = float(values.get("rescale_factor") or 1 / 255) if values.get("do_rescale", True) else 1.0
    normal = values.get("do_normalize", True)
    return ImageSpec(
        INPUT,
        channels,
        *target,
        resize,
        to,
        RESAMPLES[int(values["resample"] if values.get("resample") is not None else 2)],
        bool(crop) or (resize == "exact" and to != target),
        rescale,
        _numbers(values.get("image_mean") if normal else 0.0, channels),
        _numbers(values.get("image_std") if normal else 1.0, channels),
    )


def _pair(size: Any, kind: str) -> tuple[int, int]:
    if isinstance(size, tuple):
        return size
    if not isinstance(size, Mapping) or not size.get("height") or not size.get("width"):
        raise InputError(f"model.base: {kind} has a size of {dict(size or {})}; svfit needs height and width")
    return int(size["height"]), int(size["width"])


def _numbers(values: Any, channels: int) -> tuple[float, ...]:
    return (float(values),) * channels if isinstance(values, int | float) else tuple(float(value) for value in values)


def _difference(processor: Any, spec: ImageSpec, size: tuple[int, int]) -> float:
    """The largest difference on one picture of lot, of the size (height, width)."""
    from PIL import Image

    size = (spec.height, spec.width) if spec.resize == "none" and not spec.crop else size
    shape = size if spec.channels == 1 else (*size, 3)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8))
    wanted: npt.NDArray[np.float32] = processor(image, return_tensors="np")[INPUT][0]
    ours = to_pixels(image, spec, "a picture")
    return float(np.abs(wanted - ours).max()) if wanted.shape == ours.shape else float("inf")
