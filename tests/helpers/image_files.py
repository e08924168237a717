"""Image files made up for tests."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image


def noise(height: int = 20, width: int = 30, seed: int = 0) -> Image.Image:
    """Random colours."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8))


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """The bytes of an image file."""
    target = io.BytesIO()
    image.save(target, kind, **options)
    return target.getvalue()
