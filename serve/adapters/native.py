"""An adapter in ONNX Runtime's own format: what a program needs that has onnxruntime and nothing of svfit."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from serve.adapters.adapter import LoadedAdapter
from serve.files import write_bytes
from serve.swap import SwapSpec

SIGMA_FILE, HEAD_FILE = "sigma.onnx_adapter", "head.onnx_adapter"
_ADAPTER_VERSION, _MODEL_VERSION = 1, 1


def write_native(loaded: LoadedAdapter, swap: SwapSpec, folder: Path) -> None:
    """Write what `onnxruntime.LoraAdapter` feeds to a bundle's graphs, each file whole or not at all.

    sigma.onnx_adapter holds the backbone's `swap.sigma`, float32 (1, R); head.onnx_adapter the weights of the
    adapter's head, float32, by name. The same adapter gives the same bytes (of one release of onnxruntime).
    """
    weights = {weight.name: loaded.weights[weight.name] for weight in swap.head(loaded.head).weights}
    write_bytes(folder / SIGMA_FILE, _encoded({swap.sigma: loaded.reference}))
    write_bytes(folder / HEAD_FILE, _encoded(weights))


def _encoded(parameters: Mapping[str, npt.NDArray[np.float32]]) -> bytes:
    """The file's bytes, which onnxruntime gives to a path only."""
    from onnxruntime import AdapterFormat, OrtValue

    adapter = AdapterFormat()
    adapter.set_adapter_version(_ADAPTER_VERSION)
    adapter.set_model_version(_MODEL_VERSION)
    adapter.set_parameters({name: OrtValue.ortvalue_from_numpy(value) for name, value in parameters.items()})
    with tempfile.TemporaryDirectory(prefix="svfit-") as scratch:
        path = Path(scratch) / SIGMA_FILE
        adapter.export_adapter(str(path))
        return path.read_bytes()
