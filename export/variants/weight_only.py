"""Weights in 8 or 4 bits by blocks, activations as they are: for models whose weights dominate."""

from __future__ import annotations

import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from export.int8 import layers, write_int8
from export.quiet import quiet
from export.variants.saving import save, small_enough
from serve.errors import InputError

if TYPE_CHECKING:
    import onnx

BLOCK = 32
"""Weights that share a scale. 128 would save 2 % of MiniLM's file."""
ACCURACY_LEVEL = 4
"""onnxruntime may sum in int8, with a scale for each block of activations: its quick kernels do only that."""


def write_w8(model: onnx.ModelProto, out: Path, keep: Collection[str] = ()) -> int:
    """As `write_weight_only`, 8 bits."""
    return write_weight_only(model, out, keep, bits=8)


def write_w4(model: onnx.ModelProto, out: Path, keep: Collection[str] = ()) -> int:
    """As `write_weight_only`, 4 bits."""
    return write_weight_only(model, out, keep, bits=4)


def write_weight_only(
    model: onnx.ModelProto, out: Path, keep: Collection[str] = (), *, bits: int, block: int = BLOCK
) -> int:
    """Write `model` with `bits` (4 or 8) a weight in its products (MatMulNBits) to `out`, atomically; gives its bytes.

    Each `block` weights of a column share a scale. Tables (Gather) become int8 as in the int8 variant. Nodes named in
    `keep` stay as they are. Raises InputError where no product is left, and for more than 2 GB of weights.
    """
    import onnx

    small_enough(model, f"w{bits}")
    with quiet():
        from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, MatMulNBitsQuantizer

    types = {node.name: node.op_type for node in model.graph.node}
    named = layers(model)
    wanted = [name for name in named if name not in set(keep)]
    products = [name for name in wanted if types[name] == "MatMul"]
    tables = [name for name in wanted if types[name] == "Gather"]
    if tables:  # writing them in int8 turns each Gemm into a MatMul of this name
        products += [f"{name}_MatMul" for name in wanted if types[name] == "Gemm"]
    if not products:
        raise InputError(f"w{bits}: no product is left to quantize; the graph has none, or all are kept in fp32")
    with tempfile.TemporaryDirectory() as folder:
        copy = onnx.ModelProto()
        if tables:
            write_int8(model, Path(folder) / "tables.onnx", [name for name in named if name not in tables])
            copy = onnx.load(str(Path(folder) / "tables.onnx"))
        else:
            copy.CopyFrom(model)
        with quiet():
            config = DefaultWeightOnlyQuantConfig(
                block_size=block,
                is_symmetric=True,
                accuracy_level=ACCURACY_LEVEL,
                op_types_to_quantize=("MatMul",),
                bits=bits,
            )
            others = [node.name for node in copy.graph.node if node.name not in products]
            quantizer = MatMulNBitsQuantizer(copy, nodes_to_exclude=others, algo_config=config)
            quantizer.process()
    return save(quantizer.model.model, out)
