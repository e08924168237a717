"""Weights applied to something that isn't a row (DeBERTa's relative positions): with per-row sigma it becomes one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from export.swap.shapes import Shape, Shapes
from serve.errors import InputError

if TYPE_CHECKING:
    import onnx_ir


def follow(
    graph: onnx_ir.Graph, value: onnx_ir.Value, before: onnx_ir.Value, shapes: Shapes, sigma: onnx_ir.Value
) -> None:
    """Mend what comes after `value`, once `(1, ...)` and now `(b, ...)` with `b` the rows of sigma.

    `before` is the tensor that the trace knew in its place. Until the batch comes in, reshapes to a leading n become
    reshapes to whatever leads (n · b), and a repetition for each row of the batch becomes one for each row of the batch
    that sigma hasn't made already (`batch / b`). Where tensors of the batch come in, they meet by broadcasting, which
    takes 1 and b alike. Raises InputError where an operator would move or drop the leading axis.
    """
    waiting, seen = [(value, shapes.example(str(before.name)))], set()
    while waiting:
        current, shape = waiting.pop()
        for node, index in list(current.uses()):
            if node in seen:
                continue
            seen.add(node)
            if node.op_type == "Tile" and _by_batch(node, shape, shapes):
                _divide(graph, node, shapes, sigma)
                continue
            if node.op_type == "Reshape" and index == 0:
                _leading(graph, node, shapes)
            elif not _leads(node, shape, shapes):
                raise InputError(
                    f"{node.name}: moves or drops the axis by which rows differ after {before.name};"
                    " it can't be swapped; export merged"
                )
            for out in node.outputs:
                made = out.name not in shapes.found  # by this surgery, which keeps the leading axis
                if made or shapes.kind(str(out.name)) == "fixed":
                    waiting.append((out, shape if made else shapes.example(str(out.name))))


def _by_batch(node: onnx_ir.Node, shape: Shape, shapes: Shapes) -> bool:
    """Whether a repetition of a tensor of this shape is one for each row of the batch."""
    found = shapes.found[str(node.outputs[0].name)]
    return all(out[0] == shape[0] * batch for out, (batch, _) in zip(found, shapes.sizes, strict=True))


def _leads(node: onnx_ir.Node, shape: Shape, shapes: Shapes) -> bool:
    """Whether the leading axis of a tensor of this shape leads all that a node makes of it."""
    if node.op_type == "Transpose":
        return bool(node.attributes["perm"].as_ints()[0] == 0)
    if node.op_type == "Unsqueeze":
        axes = node.inputs[1]
        constant = None if axes is None else axes.const_value
        return constant is not None and bool((constant.numpy() > 0).all())
    for value in node.outputs:
        if value.name in shapes.found:
            after, kind = shapes.example(str(value.name)), shapes.kind(str(value.name))
            kept = after[:1] == shape[:1] if kind == "fixed" else kind == "rows" and shape[0] == 1
            if not kept or len(after) != len(shape):
                return False
    return True


def _leading(graph: onnx_ir.Graph, node: onnx_ir.Node, shapes: Shapes) -> None:
    """A reshape to `[n, ...]` becomes one to `[-1, ...]`, its own -1 written out."""
    import onnx_ir

    target = node.inputs[1]
    constant = None if target is None else target.const_value
    if constant is None:
        raise InputError(
            f"{node.name}: reshapes to a computed shape what varies by row; it can't be swapped; export merged"
        )
    dims = constant.numpy().tolist()
    if dims[0] == -1:
        return
    actual = shapes.example(str(node.outputs[0].name))
    name = f"svfit.{node.outputs[0].name}.shape"
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
    name = f"svfit.{node.outputs[0].name}"
    if repeats is not None and str(repeats.name) == f"{name}.fewer":
        return  # another layer came this way
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
