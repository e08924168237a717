"""Rows of images to a graph's batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from serve.errors import InputError
from serve.images.decode import LIMITS, Limits
from serve.images.pixels import Pixels, checked_pixels, load_pixels
from serve.images.spec import ImageSpec
from serve.pieces import Output, Piece


class ImageEncoder:
    """Image files, or tensors that a client prepared, to float32 (channels, height, width), all of one size."""

    def __init__(self, spec: ImageSpec, limits: Limits = LIMITS) -> None:
        self._spec, self._limits = spec, limits

    def encode(self, row: Any, max_length: int | None = None) -> Piece:
        """One image: a file's bytes, or an array. Raises InputError and TooLarge, as `load_pixels` does."""
        return self.named(row, "the image")

    def named(self, row: Any, where: str) -> Pixels:
        """The same; errors begin with `where`."""
        if isinstance(row, np.ndarray):
            return checked_pixels(row, self._spec, where)
        if not isinstance(row, bytes):
            raise InputError(f"{where}: must be an image's bytes, or an array (got {type(row).__name__})")
        return load_pixels(row, self._spec, where, self._limits)

    def pad(self, pieces: Sequence[Piece]) -> dict[str, npt.NDArray[Any]]:
        """A batch by the graph's input: float32 (images, channels, height, width)."""
        return {self._spec.name: np.stack(pieces)}

    def split(self, outputs: npt.NDArray[np.float32], pieces: Sequence[Piece]) -> list[Output]:
        """A row of the outputs for each image."""
        return list(outputs)
