"""Weights applied to something that isn't a row (DeBERTa's relative positions): with per-row sigma it becomes one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from export.swap.shapes import Shapes
from serve.errors import InputError

if TYPE_CHECKING:
    import onnx_ir


def follow(
    graph: onnx_ir.Graph, value: onnx_ir.Value, before: onnx_ir.Value, shapes: Shapes, sigma: onnx_ir.Value
) -> None:
    """Mend what comes after `value`, once `(1, ...)` and now `(b, ...)` with `b` the rows of sigma.

    `before` is the tensor that the trace knew in its place. Until the batch comes in, reshapes to a leading 1 become
    reshapes to whatever leads, and a repetition for each row of the batch becomes one for each row of the batch that
    sigma hasn't made already (`batch / b`). Raises InputError where another operator stands in the way.
    """
    waiting = [value]
    while waiting:
        current = waiting.pop()
        for node, index in list(current.uses()):
            out = node.outputs[0]
            if node.op_type == "Tile" and index == 0:
                _divide(graph, node, shapes, sigma)
            elif str(out.name) in shapes.found and shapes.kind(str(out.name)) != "fixed":
                continue  # it meets the batch by broadcasting, which takes 1 and b alike
            elif node.op_type == "Reshape" and index == 0:
                _leading(graph, node, shapes)
                waiting.append(out)
            elif node.op_type == "Transpose" and node.attributes["perm"].as_ints()[0] != 0:
                raise InputError(f"{node.name}: turns tensors that vary by row; {before.name} can't be swapped")
            else:
                waiting.append(out)


def _leading(graph: onnx_ir.Graph, node: onnx_ir.Node, shapes: Shapes) -> None:
    """A reshape to `[1, ...]` becomes one to `[-1, ...]`, its own -1 written out."""
    import onnx_ir

    target = node.inputs[1]
    constant = None if target is None else target.const_value
    if constant is None:
        raise InputError(f"{node.name}: reshapes to a computed shape what varies by row; it can't be swapped")
    dims = constant.numpy().tolist()
    if dims[0] == -1:
        return
    actual = shapes.example(str(node.outputs[0].name))
    name = f"svfit.{node.name}.shape"
    tensor = onnx_ir.tensor(np.array([-1, *actual[1:]], dtype=np.int64), name=name)
    fresh = onnx_ir.Value(
        name=name, shape=onnx_ir.Shape([len(dims)]), type=onnx_ir.TensorType(tensor.dtype), const_value=tensor
    )
    graph.register_initializer(fresh)
    node.replace_input_with(1, fresh)


def _divide(graph: onnx_ir.Graph, node: onnx_ir.Node, shapes: Shapes, sigma: onnx_ir.Value) -> None:
    """`repeats / [b, 1, ...]`."""
    import onnx_ir

    repeats = node.inputs[1]
    name = f"svfit.{node.name}"
    rows = onnx_ir.node("Shape", [sigma], {"start": 0, "end": 1}, name=f"{name}.rows")
    rank = len(shapes.example(str(node.outputs[0].name)))
    ones = onnx_ir.tensor(np.ones(rank - 1, dtype=np.int64), name=f"{name}.ones")
    rest = onnx_ir.Value(
        name=f"{name}.ones", shape=onnx_ir.Shape([rank - 1]), type=onnx_ir.TensorType(ones.dtype), const_value=ones
    )
    graph.register_initializer(rest)
    divisor = onnx_ir.node("Concat", [rows.outputs[0], rest], {"axis": 0}, name=f"{name}.divisor")
    fewer = onnx_ir.node("Div", [repeats, divisor.outputs[0]], name=f"{name}.fewer")
    for made in (rows, divisor, fewer):
        made.outputs[0].name = made.name
        graph.append(made)
    node.replace_input_with(1, fewer.outputs[0])
