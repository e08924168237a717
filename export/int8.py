"""One int8 graph from an fp32 one: which layers can be quantized, and writing it with some of them left alone."""

from __future__ import annotations

import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from export.graph import EMBED_LIMIT
from export.quiet import quiet
from serve.errors import InputError

if TYPE_CHECKING:
    import onnx


def layers(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes with float32 weights that int8 can hold: products (MatMul, Gemm) and lookups (Gather).

    In graph order; export.graph named them after their modules.
    """
    import onnx

    weights = {
        entry.name for entry in model.graph.initializer if entry.data_type == onnx.TensorProto.FLOAT and entry.dims
    }
    place = {"MatMul": 1, "Gemm": 1, "Gather": 0}
    return [
        node.name
        for node in model.graph.node
        if node.op_type in place and node.name and node.input[place[node.op_type]] in weights
    ]


def write_int8(model: onnx.ModelProto, out: Path, keep: Collection[str] = ()) -> int:
    """Write `model` with int8 weights and dynamic uint8 activations to `out`, atomically; returns its bytes.

    Nodes named in `keep` stay in float32. Weights take 7 of the 8 bits, one scale for each output column of a
    product and one for each embedding table. 7 bits because x86 without VNNI adds two uint8 × int8 products in
    16 bits, which saturate: then the answers would depend on the machine. With a scale for each column the lost
    bit costs nothing measurable, and quantized embeddings cost nothing but make the file 2.6 times smaller
    (benchmarks/int8.py).

    Raises InputError where nothing would be quantized, and for more than 2 GB of weights.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    gemms = {node.name for node in model.graph.node if node.op_type == "Gemm"}
    wanted = [name for name in layers(model) if name not in set(keep)]
    if not wanted:
        raise InputError("int8: no layer is left to quantize; the graph has no weights, or all are kept in fp32")
    size = sum(len(entry.raw_data) for entry in model.graph.initializer)
    if size > EMBED_LIMIT:
        raise InputError(f"int8: the graph has {size / 1e9:.1f} GB of weights; up to 2 GB can be quantized; keep fp32")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as folder, quiet():
        written = Path(folder) / out.name
        quantize_dynamic(
            model,
            str(written),
            op_types_to_quantize=["MatMul", "Gather"],
            # the quantizer turns a Gemm into a MatMul of this name before it looks at names
            nodes_to_quantize=[f"{name}_MatMul" if name in gemms else name for name in wanted],
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
        )
        written.replace(out)
    return out.stat().st_size
