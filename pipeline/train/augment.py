"""Images varied at random while a model learns from them; never while it is measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from PIL.Image import Image

AREA, SHAPE, DEGREES, COLOUR = 0.6, 4 / 3, 10.0, 0.2


def varied(image: Image, ways: Sequence[str]) -> Image:
    """An RGB image varied in each of these ways, drawn from torch's own random numbers (which the trainer seeds).

    `crop`: a part of 60 to 100% of the area, its proportions changed by up to a third; `flip`: left and right, or not;
    `rotate`: up to 10 degrees either way; `colour`: brightness, contrast and saturation by up to 20%.
    """
    from PIL import ImageEnhance
    from PIL.Image import Resampling, Transpose

    if "rotate" in ways:
        corner = image.getpixel((0, 0))
        image = image.rotate(_between(-DEGREES, DEGREES), Resampling.BILINEAR, fillcolor=corner)
    if "crop" in ways:
        image = image.crop(_part(image.width, image.height))
    if "flip" in ways and _between(0, 1) < 0.5:
        image = image.transpose(Transpose.FLIP_LEFT_RIGHT)
    if "colour" in ways:
        for kind in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
            image = kind(image).enhance(_between(1 - COLOUR, 1 + COLOUR))
    return image


def _part(width: int, height: int) -> tuple[int, int, int, int]:
    """Left, upper, right and lower edge of a part."""
    area, shape = _between(AREA, 1), math.exp(_between(-math.log(SHAPE), math.log(SHAPE)))
    own_width = max(1, min(width, round(width * math.sqrt(area * shape))))
    own_height = max(1, min(height, round(height * math.sqrt(area / shape))))
    left, top = round(_between(0, width - own_width)), round(_between(0, height - own_height))
    return left, top, left + own_width, top + own_height


def _between(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))
