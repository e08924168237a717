"""Weights of several graphs in one safetensors file, which onnxruntime maps and numpy reads."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from serve.errors import InputError
from serve.files import write_bytes

if TYPE_CHECKING:
    import onnx

ALIGN = 64  # bytes: what onnxruntime's kernels like, and a divisor of every block written here
Place = tuple[int, int]


def write_weights(path: Path, tensors: Mapping[str, npt.NDArray[Any]]) -> dict[str, Place]:
    """Write float32 arrays as safetensors, each at a multiple of 64 bytes; gives name → (offset, length) in bytes.

    Safetensors allows no gaps, so arrays whose size is no multiple of 64 bytes are refused (`InputError`): they are
    small and stay in the graph (`fits`). Sorted by name: the same arrays give the same bytes.
    """
    header: dict[str, Any] = {}
    start = 0
    for name, value in sorted(tensors.items()):
        if not fits(value):
            raise InputError(f"{path}: {name} is {value.dtype}, {value.nbytes} bytes; wanted float32 by the 64 bytes")
        header[name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [start, start + value.nbytes]}
        start += value.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 8) % ALIGN)
    head = struct.pack("<Q", len(text)) + text
    write_bytes(path, head + b"".join(np.ascontiguousarray(value).tobytes() for _, value in sorted(tensors.items())))
    return {
        name: (len(head) + entry["data_offsets"][0], entry["data_offsets"][1] - entry["data_offsets"][0])
        for name, entry in header.items()
    }


def fits(value: npt.NDArray[Any]) -> bool:
    """Whether an array can go into such a file."""
    return value.dtype == np.float32 and value.nbytes > 0 and value.nbytes % ALIGN == 0


def point(model: onnx.ModelProto, places: Mapping[str, Place], location: str) -> None:
    """Make every initializer named in `places` external data of the file `location`, in place."""
    import onnx

    for tensor in model.graph.initializer:
        if tensor.name not in places:
            continue
        offset, length = places[tensor.name]
        tensor.ClearField("raw_data")
        tensor.ClearField("float_data")
        del tensor.external_data[:]
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", str(offset)), ("length", str(length))):
            entry = tensor.external_data.add()
            entry.key, entry.value = key, value
