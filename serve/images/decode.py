"""Bytes that strangers hand over to an RGB image: limits before decoding, and everything odd read right or refused."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from serve.errors import InputError, MissingDependency, TooLarge
from serve.tensors import read_bounded

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
"""What is read. Formats that run other programs (EPS) or are rare on devices are not."""
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")
_EIGHT_BIT = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV")
_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N")
_ORIENTATION = 0x0112


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that one image may have: bytes as it comes, and pixels as its header says."""

    bytes: int = 32 * 2**20
    pixels: int = 50_000_000


LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Header:
    """What an image's header says, before anything is decoded; `mode` is Pillow's."""

    format: str
    width: int
    height: int
    mode: str


def image_bytes(source: Path | bytes, named: str, limits: Limits = LIMITS) -> bytes:
    """The image as it lies there. Raises TooLarge over `limits.bytes`, InputError where it can't be read."""
    size = len(source) if isinstance(source, bytes) else _file_size(source, named)
    if size > limits.bytes:
        raise TooLarge(f"{named}: an image of {size:,} bytes; at most {limits.bytes:,} are read")
    return source if isinstance(source, bytes) else read_bounded(source, limits.bytes, named)


def read_header(data: bytes, named: str, limits: Limits = LIMITS) -> Header:
    """The header of an image, nothing decoded.

    Raises InputError, one line that begins with `named`, for what is no image of `FORMATS`, has several frames or
    pixels of a kind that has no right reading here; TooLarge over a limit.
    """
    image = _open(data, named, limits)
    return Header(str(image.format), image.width, image.height, image.mode)


def decode(data: bytes, named: str, limits: Limits = LIMITS) -> Image:
    """An image of mode RGB, upright.

    What is transparent is shown on white; CMYK is converted without colour profiles; 16-bit gray keeps its upper 8
    bits, rounded; EXIF's orientation is applied. Raises as `read_header` does, and InputError for an image that is
    truncated or broken.
    """
    from PIL import Image

    image = _open(data, named, limits)
    try:
        image.load()
        orientation = _orientation(image)
        rgb = _flattened(_to_eight_bit(image))
    except MemoryError:
        raise
    except Exception as error:  # Pillow's plugins raise whatever their parsing meets
        raise InputError(f"{named}: a broken or truncated {image.format} image ({_reason(error)})") from error
    turn = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }.get(orientation)
    return rgb if turn is None else rgb.transpose(turn)


def encode_png(image: Image) -> bytes:
    """A PNG file of an image; the same image gives the same bytes with one version of Pillow."""
    target = io.BytesIO()
    image.save(target, "PNG")
    return target.getvalue()


def _file_size(path: Path, named: str) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise InputError(f"{named}: can't be read ({error.strerror or error})") from error


def _open(data: bytes, named: str, limits: Limits) -> Image:
    """Opened, its header held to everything that can be known without decoding."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise MissingDependency("Pillow", "image", "Reading images") from error
    if len(data) > limits.bytes:
        raise TooLarge(f"{named}: an image of {len(data):,} bytes; at most {limits.bytes:,} are read")
    if not data:
        raise InputError(f"{named}: empty, not an image")
    _refuse_pixels(*_webp_size(data), named, limits)  # libwebp allocates the canvas when it is opened
    try:
        image: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
        frames = int(getattr(image, "n_frames", 1)) if getattr(image, "is_animated", False) else 1
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise TooLarge(f"{named}: an image of more than {limits.pixels:,} pixels; scale it down") from None
    except UnidentifiedImageError:
        raise InputError(f"{named}: not an image that svfit reads; known are {', '.join(FORMATS)}") from None
    except MemoryError:
        raise
    except Exception as error:  # Pillow's plugins raise whatever their parsing meets
        raise InputError(f"{named}: a broken image ({_reason(error)})") from error
    _refuse_pixels(image.width, image.height, named, limits)
    if frames > 1 and image.format != "MPO":  # of a phone's MPO the first is the photograph
        raise InputError(f"{named}: {frames} frames ({image.format}); one image is needed, save one frame of it")
    deep = image.mode in _SIXTEEN_BIT or (image.mode == "I" and image.format == "PPM")
    if not deep and image.mode not in _EIGHT_BIT:
        raise InputError(f"{named}: {image.format} pixels of mode {image.mode}, whose scale isn't known; save as PNG")
    return image


def _refuse_pixels(width: int, height: int, named: str, limits: Limits) -> None:
    if width * height > limits.pixels:
        raise TooLarge(f"{named}: {width} × {height} pixels; at most {limits.pixels:,} are read; scale it down")


def _webp_size(data: bytes) -> tuple[int, int]:
    """Width and height of a WebP file's canvas, (0, 0) for anything else."""
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP" or len(data) < 30:
        return 0, 0
    kind = data[12:16]
    if kind == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1
    return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF


def _to_eight_bit(image: Image) -> Image:
    """16-bit gray (Pillow's own conversion would clip it at 255) to 8 bits; everything else as it is."""
    if image.mode not in (*_SIXTEEN_BIT, "I"):
        return image
    import numpy as np
    from PIL import Image

    values = np.asarray(image).astype(np.uint32)
    gray = Image.fromarray(((values + 128) // 257).astype(np.uint8))
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        gray.putalpha(Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)))
    return gray


def _flattened(image: Image) -> Image:
    """To RGB, transparency on white."""
    from PIL import Image

    clear = image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info
    if not clear:
        return image.convert("RGB")
    colours = image.convert("RGBA")
    white = Image.new("RGBA", colours.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, colours).convert("RGB")


def _orientation(image: Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # metadata that can't be read say nothing; the pixels are there
        return 1


def _reason(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
