"""Weights of several graphs in one safetensors file, which onnxruntime maps and numpy reads."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from serve.files import write_bytes

if TYPE_CHECKING:
    import onnx

ALIGN = 64  # bytes: a cache line
Place = tuple[int, int]


def write_weights(path: Path, tensors: Mapping[str, npt.NDArray[np.float32]]) -> dict[str, Place]:
    """Write float32 arrays as safetensors; gives name → (offset, length) in bytes.

    Safetensors allows no gaps, so arrays whose size is a multiple of 64 bytes (nearly all) come first and start at
    multiples of 64; the others follow. The same arrays give the same bytes.
    """
    order = sorted(tensors, key=lambda name: (tensors[name].nbytes % ALIGN != 0, name))
    header: dict[str, Any] = {}
    start = 0
    for name in order:
        end = start + tensors[name].nbytes
        header[name] = {"dtype": "F32", "shape": list(tensors[name].shape), "data_offsets": [start, end]}
        start = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 8) % ALIGN)
    head = struct.pack("<Q", len(text)) + text
    blocks = [np.ascontiguousarray(tensors[name], dtype=np.float32).tobytes() for name in order]
    write_bytes(path, b"".join([head, *blocks]))
    return {name: (len(head) + header[name]["data_offsets"][0], tensors[name].nbytes) for name in order}


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
