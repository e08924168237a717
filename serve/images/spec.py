"""What an image becomes before a graph sees it: size, resampling, cropping, scale."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast

from serve.errors import InputError
from serve.record import Record

Resize = Literal["exact", "shortest", "none"]
RESIZES = ("exact", "shortest", "none")
RESAMPLES = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")  # Pillow's, in its own order from 0
MOST = 8192  # pixels along an edge of the graph's input


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """The graph's input `name`, float32 (batch, `channels`, `height`, `width`), and the way there from an RGB image.

    In this order: `resize` to `size` (height, width) with Pillow's filter `resample`; where `crop`, the centre of
    `height` × `width` is cut out, black where the image is smaller; then `(value · rescale - mean) / std` for each
    channel. `resize` is `exact` (to `size`, whatever the proportions), `shortest` (the shorter edge to `size[0]`, which
    is `size[1]` too, proportions kept) or `none` (`size` is (0, 0)). One channel is the luma of ITU-R 601.
    """

    name: str
    channels: int
    height: int
    width: int
    resize: Resize
    size: tuple[int, int]
    resample: str
    crop: bool
    rescale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape of one image: (channels, height, width)."""
        return self.channels, self.height, self.width

    @classmethod
    def from_dict(cls, value: Any, where: str) -> ImageSpec:
        """Read and check what `to_dict` gave. Raises InputError, one line that names the key."""
        record = Record(value, where)
        spec = cls(
            name=record.text("name"),
            channels=record.count("channels", 1),
            height=record.count("height", 1),
            width=record.count("width", 1),
            resize=cast(Resize, record.choice("resize", RESIZES)),
            size=_size(record),
            resample=record.choice("resample", RESAMPLES),
            crop=record.get("crop", bool),
            rescale=_numbers([record.get("rescale", float)], record.place("rescale"))[0],
            mean=_numbers(record.array("mean"), record.place("mean")),
            std=_numbers(record.array("std"), record.place("std")),
        )
        record.end()
        spec.check(where)
        return spec

    def check(self, where: str) -> None:
        """Refuse what contradicts itself. Raises InputError that begins with `where`."""
        if self.channels not in (1, 3):
            raise InputError(f"{where}.channels: must be 3 (red, green, blue) or 1 (gray), got {self.channels}")
        if max(self.height, self.width, *self.size) > MOST:
            raise InputError(f"{where}: an edge of more than {MOST} pixels")
        if len(self.mean) != self.channels or len(self.std) != self.channels:
            raise InputError(f"{where}: mean and std need one number for each of {self.channels} channels")
        if not self.rescale > 0 or not all(value > 0 for value in self.std):
            raise InputError(f"{where}: rescale and std must be above 0")
        wanted = (0, 0) if self.resize == "none" else self.size
        if self.size != wanted or (self.resize != "none" and min(self.size) < 1):
            raise InputError(f"{where}.size: must be [0, 0] without resizing, else two edges of at least 1 pixel")
        if self.resize == "shortest" and self.size[0] != self.size[1]:
            raise InputError(f"{where}.size: one length for the shorter edge, twice (got {list(self.size)})")
        fits = self.resize == "none" or (self.resize == "exact" and self.size == (self.height, self.width))
        if not self.crop and not fits:
            raise InputError(f"{where}.crop: must be true, as resizing alone doesn't give {self.height} × {self.width}")

    def to_dict(self) -> dict[str, Any]:
        """A JSON object; the inverse of `from_dict`."""
        plain = asdict(self)
        return {key: list(value) if isinstance(value, tuple) else value for key, value in plain.items()}


def _size(record: Record) -> tuple[int, int]:
    values = record.array("size")
    if len(values) != 2 or not all(type(value) is int and value >= 0 for value in values):
        raise InputError(f"{record.place('size')}: must be [height, width], whole numbers (got {values!r:.40})")
    return values[0], values[1]


def _numbers(values: list[Any], where: str) -> tuple[float, ...]:
    if not all(type(value) in (int, float) and math.isfinite(value) and abs(value) < 1e6 for value in values):
        raise InputError(f"{where}: must be numbers below 1e6 (got {values!r:.40})")
    return tuple(float(value) for value in values)
