"""The Open Inference Protocol's FP32 tensors as inputs: images ready for the graph."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from serve.errors import InputError

DATATYPE = "FP32"
DIMENSIONS = 4


@dataclass(frozen=True, slots=True)
class FloatTensor:
    """An input: `values` float32 of its shape, (images, channels, height, width)."""

    name: str
    values: npt.NDArray[np.float32]


def floats_from_json(name: str, shape: Sequence[int], data: Any) -> FloatTensor:
    """A tensor whose elements are JSON numbers, flat or nested as `shape` is. Raises InputError."""
    sizes = _checked(name, shape)
    try:
        values = np.array(data, dtype=np.float64)
    except (ValueError, TypeError, OverflowError):
        raise InputError(f'input "{name}": data must be numbers, flat or nested as its shape says') from None
    if not isinstance(data, list) or values.ndim not in (1, len(sizes)):
        raise InputError(f'input "{name}": data must be a list of numbers, flat or nested as its shape says')
    return _shaped(name, sizes, values)


def floats_from_values(name: str, shape: Sequence[int], elements: Sequence[float]) -> FloatTensor:
    """A tensor whose elements came one by one. Raises InputError."""
    return _shaped(name, _checked(name, shape), np.array(elements, dtype=np.float64))


def floats_from_raw(name: str, shape: Sequence[int], data: bytes) -> FloatTensor:
    """A tensor whose elements came in one piece, little-endian. Raises InputError."""
    sizes = _checked(name, shape)
    if len(data) != 4 * math.prod(sizes):
        raise InputError(f'input "{name}": {len(data)} bytes for the shape {list(sizes)} of FP32')
    return FloatTensor(name, np.frombuffer(data, "<f4").reshape(sizes))


def _checked(name: str, shape: Sequence[int]) -> tuple[int, ...]:
    sizes = tuple(shape)
    if len(sizes) != DIMENSIONS or not all(type(size) is int and 0 <= size < 2**31 for size in sizes):
        raise InputError(
            f'input "{name}": an FP32 input holds images, of shape [n, channels, height, width] (got {list(sizes)})'
        )
    return sizes


def _shaped(name: str, sizes: tuple[int, ...], values: npt.NDArray[np.float64]) -> FloatTensor:
    if values.size != math.prod(sizes) or (values.ndim > 1 and values.shape != sizes):
        raise InputError(f'input "{name}": {values.size} elements for the shape {list(sizes)}')
    if not (np.abs(values) < np.finfo(np.float32).max).all():
        raise InputError(f'input "{name}": holds NaN, infinities, or a number too large for FP32')
    return FloatTensor(name, values.astype(np.float32).reshape(sizes))
