"""How much of what an adapter adds goes through each singular direction, measured on real rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from export.swap.cut import layer_of
from export.swap.shapes import Feeds
from serve.errors import InputError

if TYPE_CHECKING:
    import onnx

Floats = npt.NDArray[np.float32]


def direction_energy(
    merged: onnx.ModelProto, delta: Mapping[str, Floats], Vh: Mapping[str, Floats], batches: Sequence[Feeds]
) -> dict[str, npt.NDArray[np.float64]]:
    """Layer → `δ_i² E[(v_iᵀ x)²]` float64 `(rank,)`: the mean energy that direction i adds to the layer's output.

    `merged` is the adapter's merged graph, whose nodes are named after the layers; `x` what they take there, over all
    tokens of `batches` that aren't padding. `u_i` has length 1, so `‖u_i δ_i v_iᵀ x‖²` is just that.
    Raises InputError for a layer without a product in the graph.
    """
    inputs: dict[str, list[str]] = {}
    for node in merged.graph.node:
        layer = layer_of(node.name)
        if node.op_type in ("MatMul", "Gemm") and layer in delta:
            inputs.setdefault(layer, []).append(node.input[0])
    missing = [layer for layer in delta if layer not in inputs]
    if missing:
        raise InputError(
            f"the graph has no product for layer {missing[0]}; its adapter can't be swapped; export merged"
        )
    session = _open(merged, sorted({name for names in inputs.values() for name in names}))
    names = [entry.name for entry in session.get_outputs()]
    sums = {layer: np.zeros(len(values), dtype=np.float64) for layer, values in delta.items()}
    tokens = dict.fromkeys(delta, 0)
    for feeds in batches:
        found = dict(zip(names, session.run(names, dict(feeds)), strict=True))
        for layer, places in inputs.items():
            for place in places:
                x = _tokens(found[place], feeds)
                sums[layer] += np.square(x @ Vh[layer].T, dtype=np.float64).sum(axis=0)
                tokens[layer] += len(x)
    return {
        layer: np.square(values, dtype=np.float64) * sums[layer] / max(1, tokens[layer])
        for layer, values in delta.items()
    }


def _tokens(x: Floats, feeds: Feeds) -> Floats:
    """(tokens, width) without padding, where the tensor still has one vector for each token of the batch."""
    mask = feeds.get("attention_mask")
    flat = x.reshape(-1, x.shape[-1])
    return flat[mask.reshape(-1) != 0] if mask is not None and mask.size == len(flat) else flat


def _open(merged: onnx.ModelProto, names: Sequence[str]) -> Any:
    import onnx
    import onnxruntime

    opened = onnx.ModelProto()
    opened.CopyFrom(merged)
    del opened.graph.output[:]
    opened.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        opened.SerializeToString(), sess_options=options, providers=["CPUExecutionProvider"]
    )
