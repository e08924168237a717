"""The tensors of the Open Inference Protocol that text classification needs: BYTES in, BYTES and FP32 out."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from serve.errors import InputError

MAX_DIMENSIONS = 2
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class TextTensor:
    """An input: `values` are its elements in row-major order, as many as `shape` says."""

    name: str
    shape: tuple[int, ...]
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OutputTensor:
    """An output: BYTES holds a list of texts, FP32 a float32 array of this `shape`."""

    name: str
    datatype: Literal["BYTES", "FP32"]
    shape: tuple[int, ...]
    values: Sequence[str] | NDArray[np.float32]

    def plain(self) -> list[Any]:
        """Its elements, flat, in row-major order: texts or floats."""
        return self.values.ravel().tolist() if isinstance(self.values, np.ndarray) else list(self.values)

    def raw(self) -> bytes:
        """Its bytes as the binary extension and gRPC send them: little-endian, each text after its length (4 bytes)."""
        if isinstance(self.values, np.ndarray):
            return self.values.astype("<f4").tobytes()
        return b"".join(_LENGTH.pack(len(data)) + data for data in (text.encode() for text in self.values))


def check_parameters(kind: str, name: str, names: Iterable[str]) -> None:
    """Refuse a tensor's parameters that ask for what isn't done here; others are hints. Raises InputError."""
    for parameter in names:
        if parameter == "classification" or parameter.startswith("shared_memory"):
            raise InputError(f'{kind} "{name}": {parameter} is an extension that this server does not have')


def from_json(name: str, datatype: str, shape: Sequence[int], data: Any) -> TextTensor:
    """A tensor whose elements are JSON strings, flat or nested as `shape` is. Raises InputError."""
    sizes = _checked(name, datatype, shape)
    if not isinstance(data, list):
        raise InputError(f'input "{name}": data must be a list of texts (got {_kind(data)})')
    elements = data
    if len(sizes) > 1 and any(isinstance(item, list) for item in data):
        if not all(isinstance(item, list) and len(item) == sizes[1] for item in data) or len(data) != sizes[0]:
            raise InputError(f'input "{name}": data is not nested as its shape {list(sizes)} says')
        elements = [element for item in data for element in item]
    for place, element in enumerate(elements):
        if not isinstance(element, str):
            raise InputError(f'input "{name}": element {place + 1} must be text (got {_kind(element)})')
    return _counted(name, sizes, elements)


def from_elements(name: str, datatype: str, shape: Sequence[int], elements: Sequence[bytes]) -> TextTensor:
    """A tensor whose elements came one by one, as UTF-8. Raises InputError."""
    sizes = _checked(name, datatype, shape)
    return _counted(name, sizes, [_text(name, place, data) for place, data in enumerate(elements)])


def from_raw(name: str, datatype: str, shape: Sequence[int], data: bytes) -> TextTensor:
    """A tensor whose elements came in one piece, each after its length (4 bytes, little-endian). Raises InputError."""
    sizes = _checked(name, datatype, shape)
    elements: list[bytes] = []
    at = 0
    while at < len(data):
        start = at + _LENGTH.size
        end = start + _LENGTH.unpack_from(data, at)[0] if start <= len(data) else math.inf
        if end > len(data):
            raise InputError(f'input "{name}": its bytes end inside of element {len(elements) + 1}')
        at = int(end)
        elements.append(data[start:at])
    return _counted(name, sizes, [_text(name, place, element) for place, element in enumerate(elements)])


def _checked(name: str, datatype: str, shape: Sequence[int]) -> tuple[int, ...]:
    if datatype != "BYTES":
        raise InputError(f'input "{name}": datatype must be BYTES (got {datatype!r})')
    sizes = tuple(shape)
    if not 1 <= len(sizes) <= MAX_DIMENSIONS or not all(type(size) is int and 0 <= size < 2**31 for size in sizes):
        raise InputError(f'input "{name}": shape must be one or two sizes, such as [8] or [8, 2] (got {list(sizes)})')
    return sizes


def _counted(name: str, sizes: tuple[int, ...], elements: Sequence[str]) -> TextTensor:
    if len(elements) != math.prod(sizes):
        raise InputError(f'input "{name}": {len(elements)} elements for the shape {list(sizes)}')
    return TextTensor(name, sizes, tuple(elements))


def _text(name: str, place: int, data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InputError(f'input "{name}": element {place + 1} is not UTF-8 ({error.reason})') from error


def _kind(value: Any) -> str:
    names = {"NoneType": "null", "dict": "an object", "list": "a list", "str": "text", "bool": "true or false"}
    return names.get(type(value).__name__, "a number")
