"""The cut: a graph becomes a backbone that all tasks share, and a head that holds what one task trained whole."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from export.swap.shapes import Shapes
from serve.errors import InputError
from serve.swap import CLASSES, HeadSpec, HeadWeight

if TYPE_CHECKING:
    import onnx
    import onnx_ir

HEAD_FILE = "head.onnx"
FEATURES = "features"


@dataclass(frozen=True)
class Cut:
    """`backbone` gives `outputs`, which the `head` takes as `spec` says; `shapes` knows their new names too."""

    backbone: onnx_ir.Model
    head: onnx_ir.Model
    outputs: tuple[str, ...]
    spec: HeadSpec
    shapes: Shapes


def cut(
    proto: onnx.ModelProto,
    whole: Mapping[str, int | None],
    layers: Collection[str],
    shapes: Shapes,
    name: str = "default",
    *,
    file: str = HEAD_FILE,
    deep: bool = False,
) -> Cut:
    """Cut a graph with one output at everything downstream of the parameters that a task trains whole.

    `whole` names those parameters and the axis of each that counts classes (None for none); `layers` the adapted
    layers, which must be upstream. What is downstream moves into the head, and with it whatever it needs that costs
    nothing (masks, places of tokens: all that no weight matrix touched), so that a head can answer some of the rows.
    Tensors between the two are called `features` (`features_1`, ...), batch first. A `deep` cut is at the last node
    with a parameter that isn't trained whole, so that pooling belongs to the head, and graphs that differ in nothing
    else are cut at the same tensor.

    Raises InputError where a parameter isn't in the graph, an adapted layer is downstream, or nothing is left to share.
    """
    import onnx_ir

    backbone, head = onnx_ir.from_proto(proto), onnx_ir.from_proto(proto)
    held = _held(backbone.graph, whole)
    below = _downstream(backbone.graph, held)
    if deep:
        below = _deepened(backbone.graph, below)
    late = sorted({layer for layer in layers if any(_is_of(node, layer) for node in below)})
    if late:
        raise InputError(
            f"a swappable graph shares everything before the parameters that a task trains whole, but {late[0]}"
            f" comes after one of {', '.join(sorted(whole)[:3])}; train fewer modules whole"
            " (adapter.head_modules, train_bias, train_layernorm), or export merged"
        )
    features, inputs = _boundary(below)
    if not features:
        raise InputError(
            "nothing is left to share: the parameters trained whole come before every weight; export merged"
        )
    for value in features:
        if shapes.kind(str(value.name)) != "rows":
            raise InputError(
                f"the cut would go through {value.name} {shapes.example(str(value.name))}, not batch first;"
                " train other modules whole (adapter.head_modules), or export merged"
            )
    renamed = {str(value.name): FEATURES + (f"_{place}" if place else "") for place, value in enumerate(features)}
    _keep(backbone, renamed, shapes)
    kept = [str(value.name) for value in inputs]
    weights = _head(head, renamed, kept, whole, shapes)
    output = str(head.graph.outputs[0].name)
    spec = HeadSpec(name, file, (*renamed.values(), *kept), output, weights)
    return Cut(backbone, head, tuple(renamed.values()), spec, shapes.renamed(renamed))


def layer_of(name: str) -> str:
    """The layer that a node is named after (`name#2` is its second run)."""
    head, mark, tail = name.rpartition("#")
    return head if mark and tail.isdigit() else name


def _is_of(node: onnx_ir.Node, layer: str) -> bool:
    return node.op_type in ("MatMul", "Gemm") and layer_of(str(node.name)) == layer


def _held(graph: onnx_ir.Graph, whole: Collection[str]) -> list[onnx_ir.Value]:
    """The initializers that hold these parameters, plain or transposed."""
    found = []
    for name in whole:
        values = [graph.initializers[key] for key in (name, f"{name}.T") if key in graph.initializers]
        if not values:
            raise InputError(
                f"the adapter trains {name} whole, which the exported graph doesn't hold as it is;"
                " train other modules whole (adapter.head_modules), or export merged"
            )
        found += values
    return found


def _downstream(graph: onnx_ir.Graph, values: Collection[onnx_ir.Value]) -> list[onnx_ir.Node]:
    reached = {str(value.name) for value in values}
    nodes = []
    for node in graph:
        if any(value is not None and value.name in reached for value in node.inputs):
            nodes.append(node)
            reached |= {str(value.name) for value in node.outputs}
    return nodes


def _deepened(graph: onnx_ir.Graph, below: list[onnx_ir.Node]) -> list[onnx_ir.Node]:
    """These nodes, and those before them that have no parameter and are of use to nothing else; in graph order."""
    inside, weighty = set(below), dict[Any, bool]()
    ends = {id(value) for value in graph.outputs}
    for node in reversed(list(graph)):
        users = [use.node for value in node.outputs for use in value.uses()]
        last = any(id(value) in ends for value in node.outputs)
        only = (users or last) and all(user in inside for user in users)
        if only and not _has_parameter(node) and _weighty(node, weighty):
            inside.add(node)
    return [node for node in graph if node in inside]


def _has_parameter(node: onnx_ir.Node) -> bool:
    """Whether a float initializer of more than one number is among its inputs."""
    import onnx_ir

    values = [value for value in node.inputs if value is not None and value.is_initializer()]
    sizes = [
        value.shape.numpy() for value in values if value.dtype == onnx_ir.DataType.FLOAT and value.shape is not None
    ]
    return any(int(np.prod(size)) > 1 for size in sizes)


def _boundary(below: list[onnx_ir.Node]) -> tuple[list[onnx_ir.Value], list[onnx_ir.Value]]:
    """What these nodes take from above: tensors that a weight matrix touched, and inputs of the graph."""
    inside = set(below)
    weighty: dict[onnx_ir.Node, bool] = {}
    features: dict[onnx_ir.Value, None] = {}
    inputs: dict[onnx_ir.Value, None] = {}
    waiting = [value for node in below for value in node.inputs]
    while waiting:
        value = waiting.pop(0)
        if value is None or value.is_initializer():
            continue
        node = value.producer()
        if node is None:
            inputs[value] = None
        elif node not in inside:
            if _weighty(node, weighty):
                features[value] = None
            else:
                waiting += list(node.inputs)
    return list(features), list(inputs)


def _weighty(node: onnx_ir.Node, known: dict[onnx_ir.Node, bool]) -> bool:
    """Whether a float matrix is among all that a node's value comes from."""
    import onnx_ir

    waiting = [node]
    while waiting:
        current = waiting[-1]
        if current in known:
            waiting.pop()
            continue
        values = [value for value in current.inputs if value is not None]
        before = [producer for value in values if (producer := value.producer()) is not None]
        todo = [producer for producer in before if producer not in known]
        if todo:
            waiting += todo
            continue
        own = any(
            value.is_initializer() and value.dtype == onnx_ir.DataType.FLOAT and len(value.shape or ()) >= 2
            for value in values
        )
        known[current] = own or any(known[producer] for producer in before)
        waiting.pop()
    return known[node]


def _keep(model: onnx_ir.Model, renamed: Mapping[str, str], shapes: Shapes) -> None:
    """Leave of a model what gives these tensors, as its outputs under their new names."""
    import onnx_ir
    from onnx_ir.passes.common import RemoveUnusedNodesPass

    values = {str(value.name): value for node in model.graph for value in node.outputs}
    model.graph.outputs.clear()
    for old, new in renamed.items():
        value = values[old]
        value.name = new
        value.type = onnx_ir.TensorType(onnx_ir.DataType.FLOAT)
        value.shape = _shape(old, shapes)
        model.graph.outputs.append(value)
    RemoveUnusedNodesPass()(model)


def _shape(name: str, shapes: Shapes) -> onnx_ir.Shape:
    """`(batch, ...)`: an axis that follows the sequence is called so, the others are numbers."""
    import onnx_ir

    found = shapes.found[name]
    dims: list[str | int] = ["batch"]
    for axis in range(1, len(found[0])):
        sizes = [shape[axis] for shape in found]
        if len(set(sizes)) == 1:
            dims.append(sizes[0])
        else:
            dims.append("sequence" if sizes == [sequence for _, sequence in shapes.sizes] else f"axis_{axis}")
    return onnx_ir.Shape(dims)


def _head(
    model: onnx_ir.Model, renamed: Mapping[str, str], kept: list[str], whole: Mapping[str, int | None], shapes: Shapes
) -> tuple[HeadWeight, ...]:
    """Make a model the head: features and weights are its inputs, weights with zeros as defaults."""
    import onnx_ir
    from onnx_ir.passes.common import RemoveUnusedNodesPass

    graph = model.graph
    values = {str(value.name): value for node in graph for value in node.outputs}
    stays = [value for value in graph.inputs if value.name in kept]
    graph.inputs.clear()
    for old, new in renamed.items():
        fresh = onnx_ir.Value(name=new, shape=_shape(old, shapes), type=onnx_ir.TensorType(onnx_ir.DataType.FLOAT))
        values[old].replace_all_uses_with(fresh)
        graph.inputs.append(fresh)
    graph.inputs.extend(stays)
    specs = [_weight_input(graph, name, axis) for name, axis in sorted(whole.items())]
    output = graph.outputs[0]
    rank = len(shapes.found[str(output.name)][0])
    last = CLASSES if any(CLASSES in spec.shape for spec in specs) else shapes.example(str(output.name))[-1]
    output.shape = onnx_ir.Shape(["batch", *(["sequence"] if rank == 3 else []), last])
    RemoveUnusedNodesPass()(model)
    return tuple(specs)


def _weight_input(graph: onnx_ir.Graph, name: str, axis: int | None) -> HeadWeight:
    """Make a parameter an input of the graph in its own orientation, whichever way the graph holds it."""
    import onnx_ir

    plain, turned = graph.initializers.get(name), graph.initializers.get(f"{name}.T")
    known = plain.shape if plain is not None else turned.shape if turned is not None else None
    if known is None:
        raise InputError(f"{name}: the exported graph doesn't tell its shape")
    sizes = known.numpy() if plain is not None else known.numpy()[::-1]
    dims: list[int | str] = [CLASSES if place == axis else size for place, size in enumerate(sizes)]
    zeros = np.zeros([1 if place == axis else size for place, size in enumerate(sizes)], dtype=np.float32)
    fresh = onnx_ir.Value(
        name=name,
        shape=onnx_ir.Shape(dims),
        type=onnx_ir.TensorType(onnx_ir.DataType.FLOAT),
        const_value=onnx_ir.tensor(zeros, name=name),
    )
    for value in (plain, turned):
        if value is None:
            continue
        graph.initializers.pop(str(value.name))
        if value is plain:
            value.replace_all_uses_with(fresh)
            continue
        node = onnx_ir.node("Transpose", [fresh], {"perm": list(range(len(sizes)))[::-1]})
        node.outputs[0].name = f"{name}.turned"
        graph.insert_before(next(iter(graph)), node)
        value.replace_all_uses_with(node.outputs[0])
    graph.inputs.append(fresh)
    graph.register_initializer(fresh)
    return HeadWeight(name, tuple(dims))
