"""What an image becomes before a graph sees it: size, resampling, cropping, scale."""

from __future__ import annotations

import base64
import binascii
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

    @property
    def names(self) -> tuple[str, ...]:
        """The graph's inputs: the one."""
        return (self.name,)

    @property
    def types(self) -> dict[str, str]:
        """The graph's inputs with their types, as onnxruntime tells them."""
        return {self.name: "tensor(float)"}

    text = 0
    """Texts of a row."""
    max_length = 1
    """What a row takes of a batch, as that of texts is counted in tokens."""

    def as_sample(self, row: Any) -> bytes:
        """A picture small enough to be stored for checking: a PNG, its edges at most twice what `resize` makes them."""
        from serve.images.decode import decode, encode_png

        image, most = decode(row, "a sample"), 2 * max(self.height, self.width, *self.size)
        if self.resize != "none" and max(image.size) > most:
            image.thumbnail((most, most))
        return encode_png(image)

    def row_to_json(self, row: Any) -> list[str]:
        """A sample row for samples.json: an image's file in base64."""
        return [base64.b64encode(row).decode()]

    def row_from_json(self, value: Any, where: str) -> bytes:
        """A sample row as it was. Raises InputError."""
        if not isinstance(value, list) or len(value) != 1 or not isinstance(value[0], str):
            raise InputError(f"{where}: must be a list of one image in base64")
        return image_from_base64(value[0], where)

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


def image_from_base64(text: str, where: str) -> bytes:
    """An image's file from base64, with or without `data:image/...;base64,` before it. Raises InputError."""
    body = text.partition(",")[2] if text.startswith("data:") else text
    try:
        return base64.b64decode("".join(body.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"{where}: not valid base64 ({error})") from None


def _size(record: Record) -> tuple[int, int]:
    values = record.array("size")
    if len(values) != 2 or not all(type(value) is int and value >= 0 for value in values):
        raise InputError(f"{record.place('size')}: must be [height, width], whole numbers (got {values!r:.40})")
    return values[0], values[1]


def _numbers(values: list[Any], where: str) -> tuple[float, ...]:
    if not all(type(value) in (int, float) and math.isfinite(value) and abs(value) < 1e6 for value in values):
        raise InputError(f"{where}: must be numbers below 1e6 (got {values!r:.40})")
    return tuple(float(value) for value in values)
