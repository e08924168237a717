"""Images of every odd kind are read right or refused by name, and nothing is decoded over a limit."""

from __future__ import annotations

import io
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import noise, saved
from PIL import Image

from serve.errors import InputError, SvfitError, TooLarge
from serve.images.decode import Limits, decode, image_bytes, read_header


def values(data: bytes) -> np.ndarray:
    image = decode(data, "it")
    assert image.mode == "RGB"
    return np.asarray(image)


def png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    """A PNG file of these raw rows (each with its filter byte)."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "WEBP"])
def test_lossless_formats_give_their_own_values(kind: str) -> None:
    image = noise()
    data = saved(image, kind, **({"lossless": True} if kind == "WEBP" else {}))
    assert np.array_equal(values(data), np.asarray(image))
    header = read_header(data, "it")
    assert (header.format, header.width, header.height) == (kind, 30, 20)


def test_a_jpeg_is_read() -> None:
    flat = Image.new("RGB", (16, 16), (200, 30, 90))
    assert np.abs(values(saved(flat, "JPEG", quality=95)).astype(int) - (200, 30, 90)).max() <= 4


def test_gray_and_black_and_white_become_three_equal_channels() -> None:
    gray = noise().convert("L")
    for image in (gray, gray.convert("1")):
        assert np.array_equal(values(saved(image)), np.asarray(image.convert("RGB")))


def test_a_palette_is_looked_up() -> None:
    image = noise().quantize(16)
    assert np.array_equal(values(saved(image)), np.asarray(image.convert("RGB")))


def test_transparency_is_shown_on_white() -> None:
    colours = np.zeros((2, 2, 4), np.uint8)
    colours[..., 0], colours[..., 3] = 255, [[0, 255], [128, 0]]
    found = values(saved(Image.fromarray(colours)))
    assert found[0, 0].tolist() == found[1, 1].tolist() == [255, 255, 255]
    assert found[0, 1].tolist() == [255, 0, 0]
    assert np.abs(found[1, 0].astype(int) - (255, 127, 127)).max() <= 1


@pytest.mark.parametrize("mode", ["P", "L", "RGB", "LA"])
def test_transparency_without_an_alpha_channel_is_too(mode: str) -> None:
    if mode == "LA":
        data = saved(Image.new("LA", (2, 2), (7, 0)))
    else:
        clear = (9, 9, 9) if mode == "RGB" else 0
        image = Image.new(mode, (2, 2), clear)
        data = saved(image, transparency=clear)
    assert (values(data) == 255).all()


def test_sixteen_bit_gray_is_scaled_and_not_clipped() -> None:
    deep = np.array([[0, 257, 300, 32896, 65535, 65406, 65407]], np.uint16)
    assert values(saved(Image.fromarray(deep)))[0, :, 0].tolist() == [0, 1, 1, 128, 255, 254, 255]
    assert values(saved(Image.fromarray(deep), "TIFF"))[0, :, 0].tolist() == [0, 1, 1, 128, 255, 254, 255]
    portable = b"P5 3 1 65535\n" + struct.pack(">3H", 0, 32896, 65535)
    assert values(portable)[0, :, 0].tolist() == [0, 128, 255]


def test_sixteen_bit_colour_is_read() -> None:
    rows = b"\0" + struct.pack(">6H", 65535, 0, 32896, 0, 257, 65535)
    assert values(png(2, 1, 16, 2, rows)).tolist() == [[[255, 0, 128], [0, 1, 255]]]


def test_cmyk_is_converted() -> None:
    ink = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    assert np.abs(values(saved(ink, "JPEG", quality=100)).astype(int) - (255, 0, 0)).max() <= 6


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_exif_says_which_way_is_up(orientation: int, kind: str) -> None:
    from PIL import ImageOps

    image, exif = noise(4, 6), Image.Exif()
    exif[0x0112] = orientation
    data = saved(image, kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(saved(image, exif=exif))))
    assert np.array_equal(values(data), np.asarray(upright))


def test_a_phones_picture_with_a_second_one_inside_is_its_first() -> None:
    first = Image.new("RGB", (8, 8), (250, 10, 10))
    data = saved(first, "MPO", save_all=True, append_images=[Image.new("RGB", (8, 8))])
    assert read_header(data, "it").format == "MPO"
    assert values(data)[4, 4, 0] > 230


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_an_animation_is_refused_by_its_frames(kind: str) -> None:
    data = saved(noise(), kind, save_all=True, append_images=[noise(seed=1), noise(seed=2)])
    with pytest.raises(InputError, match=rf"it: 3 frames \({kind}\)"):
        read_header(data, "it")


def test_a_still_gif_is_read() -> None:
    assert values(saved(noise().quantize(8), "GIF")).shape == (20, 30, 3)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF"])
def test_a_truncated_file_is_refused(kind: str) -> None:
    data = saved(noise(64, 64), kind)
    with pytest.raises(InputError, match="it: "):
        decode(data[: len(data) // 2], "it")


@pytest.mark.parametrize("data", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"GIF89a"])
def test_what_is_no_image_is_refused(data: bytes) -> None:
    with pytest.raises(InputError, match=r"it: (empty, )?(not an|a broken) image"):
        decode(data, "it")


@pytest.mark.parametrize("mode", ["F", "I"])
def test_pixels_of_unknown_scale_are_refused(mode: str) -> None:
    with pytest.raises(InputError, match=f"it: TIFF pixels of mode {mode}"):
        read_header(saved(Image.new(mode, (4, 4)), "TIFF"), "it")


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "GIF", "BMP", "JPEG"])
def test_more_pixels_than_allowed_are_refused_before_decoding(kind: str) -> None:
    with pytest.raises(TooLarge, match=r"it: 30 × 20 pixels; at most 599 are read"):
        decode(saved(noise(), kind), "it", Limits(pixels=599))


@pytest.mark.parametrize("size", [9_000, 50_000, 100_000])
def test_a_bomb_of_a_few_bytes_is_refused_by_its_header(size: int) -> None:
    with pytest.raises(TooLarge, match=r"it: .* pixels"):
        decode(png(size, size, 8, 0, b"\0"), "it")


@pytest.mark.parametrize("kind", [b"VP8X", b"VP8L"])
def test_a_webp_canvas_is_bounded_before_libwebp_sees_it(kind: bytes) -> None:
    size = 16_000
    if kind == b"VP8X":
        body = b"\0" * 4 + (size - 1).to_bytes(3, "little") * 2
    else:
        body = b"\x2f" + ((size - 1) | (size - 1) << 14).to_bytes(4, "little") + b"\0" * 8
    data = b"RIFF" + struct.pack("<I", 12 + len(body)) + b"WEBP" + kind + struct.pack("<I", len(body)) + body
    with pytest.raises(TooLarge, match=r"16000 × 16000"):
        decode(data, "it")


def test_more_bytes_than_allowed_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(saved(noise()))
    limits = Limits(bytes=100)
    for source in (path, path.read_bytes()):
        with pytest.raises(TooLarge, match=r"it: an image of [\d,]+ bytes; at most 100"):
            image_bytes(source, "it", limits)
    with pytest.raises(InputError, match=re.escape("x: can't be read")):
        image_bytes(tmp_path / "none.png", "x")


FILES = [saved(noise(), kind) for kind in ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "PPM")]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(FILES), st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=6))
def test_damage_is_read_or_refused_and_never_anything_else(data: bytes, hits: list[tuple[int, int]]) -> None:
    damaged = bytearray(data)
    for place, value in hits:
        damaged[place % len(damaged)] = value
    try:
        decode(bytes(damaged), "it", Limits(pixels=100_000))
    except SvfitError as error:
        assert str(error).startswith("it: ")
        assert "\n" not in str(error)
