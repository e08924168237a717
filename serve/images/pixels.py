"""An RGB image to the numbers that a graph takes, as transformers' image processors make them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from serve.errors import InputError, TooLarge
from serve.images.decode import LIMITS, Limits, decode, image_bytes
from serve.images.spec import RESAMPLES, ImageSpec

if TYPE_CHECKING:
    from PIL.Image import Image

Pixels: TypeAlias = npt.NDArray[np.float32]
"""One image, (channels, height, width)."""


def load_pixels(source: Path | bytes, spec: ImageSpec, named: str, limits: Limits = LIMITS) -> Pixels:
    """An encoded image to float32 `spec.shape`. Raises as `decode.decode` and `to_pixels` do."""
    return to_pixels(decode(image_bytes(source, named, limits), named, limits), spec, named, limits)


def to_pixels(image: Image, spec: ImageSpec, named: str, limits: Limits = LIMITS) -> Pixels:
    """An RGB image to float32 `spec.shape`.

    Resizing and cropping are done on 8-bit values, by Pillow, the rest by a table of the 256 results: exactly what
    `transformers` (its Pillow backend) computes. Raises InputError that begins with `named` for an image of another
    size where the bundle doesn't resize, TooLarge for one so long and narrow that it would grow beyond the limit.
    """
    return normalized(fitted(image, spec, named, limits), spec)


def fitted(image: Image, spec: ImageSpec, named: str, limits: Limits = LIMITS) -> Image:
    """The image resized and cropped, still 8-bit: RGB or L, `spec.width` × `spec.height`. Raises as `to_pixels`."""
    image = image.convert("L" if spec.channels == 1 else "RGB")
    if spec.resize != "none":
        height, width = spec.size if spec.resize == "exact" else _shortest(image.height, image.width, spec.size[0])
        if width * height > limits.pixels:
            raise TooLarge(f"{named}: {image.width} × {image.height} is too narrow; resized it is {width} × {height}")
        image = image.resize((width, height), RESAMPLES.index(spec.resample))
    if spec.crop:
        left, top = (image.width - spec.width) // 2, (image.height - spec.height) // 2
        image = image.crop((left, top, left + spec.width, top + spec.height))
    if (image.height, image.width) != (spec.height, spec.width):
        raise InputError(
            f"{named}: {image.width} × {image.height} pixels; this bundle takes {spec.width} × {spec.height} and"
            " doesn't resize"
        )
    return image


def normalized(image: Image, spec: ImageSpec) -> Pixels:
    """A fitted image to float32 `spec.shape`: `(value · rescale - mean) / std`."""
    values = np.asarray(image).reshape(spec.height, spec.width, spec.channels)
    table = normalizing_table(spec)
    result = np.empty(spec.shape, np.float32)
    for channel in range(spec.channels):
        np.take(table[channel], values[:, :, channel], out=result[channel])
    return result


def normalizing_table(spec: ImageSpec) -> npt.NDArray[np.float32]:
    """What each 8-bit value becomes, float32 (channels, 256)."""
    scaled = (np.arange(256) * spec.rescale).astype(np.float32)
    mean, std = (np.array(values, np.float32)[:, None] for values in (spec.mean, spec.std))
    table: npt.NDArray[np.float32] = (scaled - mean) / std
    return table


def checked_pixels(value: npt.NDArray[np.generic], spec: ImageSpec, named: str) -> Pixels:
    """A tensor that a client prepared itself, as float32 `spec.shape`.

    Raises InputError that begins with `named`: another shape or kind of number, NaN or infinities.
    """
    if value.shape != spec.shape or not np.issubdtype(value.dtype, np.floating):
        wanted = "×".join(map(str, spec.shape))
        raise InputError(f"{named}: must be float32 {wanted} (got {value.dtype} {'×'.join(map(str, value.shape))})")
    if not np.isfinite(value).all():
        raise InputError(f"{named}: holds NaN or infinities")
    return value.astype(np.float32, copy=False)


def _shortest(height: int, width: int, edge: int) -> tuple[int, int]:
    if width <= height:
        return int(edge * height / width), edge
    return edge, int(edge * width / height)
