"""Safetensors files that strangers hand over: bounded before anything is allocated, float32 and finite throughout."""

from __future__ import annotations

import json
import math
import stat
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from serve.errors import InputError

MAX_HEADER_BYTES = 2 * 2**20
LENGTH_BYTES = 8  # the header's own length, an unsigned little-endian integer

Tensors = dict[str, npt.NDArray[np.float32]]


def read_tensors(source: Path | bytes, limit: int, named: str = "") -> Tensors:
    """Name → float32 array, a read-only view of the bytes read. A file of more than `limit` bytes is not read.

    Stricter than the format: float32 only, finite only, and the tensors fill the file without gap or overlap.
    Raises InputError, one line that begins with `named` (the path, where it is "").
    """
    named = named or (str(source) if isinstance(source, Path) else "tensors")
    data = source if isinstance(source, bytes) else read_bounded(source, limit, named)
    if len(data) > limit:
        raise InputError(f"{named}: {len(data)} bytes, over the {limit} that it may have")
    header, start = _header(data, named)
    found: Tensors = {}
    spans: list[tuple[int, int]] = []
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        shape, begin, end = _entry(entry, len(data) - start, f"{named}: {_shown(name)}")
        spans.append((begin, end))
        values = np.frombuffer(data, dtype="<f4", count=(end - begin) // 4, offset=start + begin)
        if not np.isfinite(values).all():
            raise InputError(f"{named}: {_shown(name)} holds NaN or infinities")
        found[name] = values.reshape(shape)
    place = 0
    for begin, end in sorted(spans):
        if begin != place:
            raise InputError(f"{named}: its tensors overlap or leave a gap at byte {min(begin, place)} of the data")
        place = end
    if place != len(data) - start:
        raise InputError(f"{named}: {len(data) - start} bytes of data, but its tensors fill {place}")
    return found


def read_bounded(path: Path, limit: int, named: str) -> bytes:
    """A plain file's bytes. Raises InputError where it can't be read or is larger than `limit` bytes."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{named}: is not a plain file")
        with path.open("rb") as handle:  # not more than was there: a larger file isn't even begun
            data = b"" if status.st_size > limit else handle.read(status.st_size)
    except OSError as error:
        raise InputError(f"{named}: can't be read ({error.strerror or error})") from error
    if status.st_size > limit:
        raise InputError(f"{named}: {status.st_size} bytes, over the {limit} that it may have")
    return data


def _header(data: bytes, named: str) -> tuple[dict[str, Any], int]:
    """The header's table, and where the data starts."""
    length = int.from_bytes(data[:LENGTH_BYTES], "little")
    start = LENGTH_BYTES + length
    if len(data) < LENGTH_BYTES or start > len(data):
        raise InputError(f"{named}: not a safetensors file, or cut short ({len(data)} bytes)")
    if length > MAX_HEADER_BYTES:
        raise InputError(f"{named}: its header has {length} bytes, over the {MAX_HEADER_BYTES} that it may have")
    try:
        header = json.loads(data[LENGTH_BYTES:start].decode(), object_pairs_hook=_no_doubles)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise InputError(f"{named}: its header is not valid JSON ({error})") from error
    if not isinstance(header, dict):
        raise InputError(f"{named}: its header is no JSON object")
    return header, start


def _no_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a key comes twice")
    return table


def _entry(entry: Any, size: int, where: str) -> tuple[list[int], int, int]:
    """Shape, begin and end of one tensor, held to each other and to the `size` bytes of data."""
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise InputError(f"{where}: must have dtype, shape and data_offsets, and nothing else")
    if entry["dtype"] != "F32":
        raise InputError(f"{where}: is {_shown(entry['dtype'])}; an adapter is float32 (F32) throughout")
    shape, offsets = entry["shape"], entry["data_offsets"]
    if not _counts(shape, size) or not _counts(offsets, size) or len(offsets) != 2 or len(shape) > 8:
        raise InputError(f"{where}: its shape or offsets reach beyond the file")
    begin, end = offsets
    if end - begin != 4 * math.prod(shape):
        raise InputError(f"{where}: shape {shape} takes {4 * math.prod(shape)} bytes, its offsets {end - begin}")
    return shape, begin, end


def _counts(value: Any, most: int) -> bool:
    return isinstance(value, list) and all(type(item) is int and 0 <= item <= most for item in value)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
