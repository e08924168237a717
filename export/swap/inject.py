"""Graph surgery: `sigma` becomes an input, and meets every adapted layer between `A` and `B`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from export.swap.cut import layer_of
from export.swap.free import follow
from export.swap.shapes import Shapes
from serve.errors import InputError
from serve.swap import Form, LayerSpec

if TYPE_CHECKING:
    import onnx_ir

SIGMA = "sigma"
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class LayerPlan:
    """What a layer carries: `A (in, k)`, `s (k,)` and `B (k, out)` of the kept directions, float32, and its rank.

    A layer whose form is `untouched` keeps none.
    """

    form: Form
    rank: int
    kept: tuple[int, ...]
    A: Floats
    s: Floats
    B: Floats


@dataclass
class _Group:
    """Layers that take the same tensors, run by run: one product gives `x A` of them all."""

    layers: list[str]
    runs: list[list[onnx_ir.Node]]


def inject(model: onnx_ir.Model, plans: Mapping[str, LayerPlan], shapes: Shapes) -> list[LayerSpec]:
    """Add the input `sigma` (batch or 1, R) with zeros as default to `model`, and the directions to its layers.

    `bypass`: `y = x W + ((x A) ∘ sigma) B`; `factored`: `y = ((x A) ∘ (s + sigma)) B`, without `W` (SVFit, arXiv
    2409.05926, in both its forms). Layers with a common input share the product with `A`. `sigma` lies along the
    layers in the order of the specs returned. Raises InputError for a layer that isn't in the graph, or whose tensors
    don't let rows be told apart.
    """
    from onnx_ir.passes.common import RemoveUnusedNodesPass

    graph = model.graph
    nodes = _runs(graph, plans)
    groups = _groups(nodes, plans)
    width = sum(len(plans[layer].kept) for group in groups for layer in group.layers)
    if not width:
        raise InputError("a swappable graph needs at least one direction; raise export.swap_budget")
    weights = {layer: _weight(runs[0]) for layer, runs in nodes.items()}
    inputs = {node: str(node.inputs[0].name) for runs in nodes.values() for node in runs if node.inputs[0] is not None}
    surgeon = _Surgeon(graph, shapes, inputs, [_own(group, plans) for group in groups])
    specs: list[LayerSpec] = []
    for place, group in enumerate(groups):
        specs += surgeon.operate(place, group, plans, weights)
    for layer, (weight, transposed) in weights.items():
        if plans[layer].form == "untouched":
            specs.append(LayerSpec(layer, plans[layer].rank, (), "untouched", "", 0, "", weight, weight, transposed))
    graph.sort()
    RemoveUnusedNodesPass()(model)  # the weights that factors replace
    return specs


def _own(group: _Group, plans: Mapping[str, LayerPlan]) -> Floats:
    """What sigma is added to, for the group's part of it: `s` where `W` is gone, zeros where it is still there."""
    return np.concatenate(
        [plans[name].s if plans[name].form == "factored" else np.zeros_like(plans[name].s) for name in group.layers]
    )


def one_weight(model: onnx_ir.Model, layers: Sequence[str]) -> None:
    """Let all runs of a layer take one initializer: a trace may leave a copy of the weight for each of them.

    Raises InputError where a later run's weight is another one.
    """
    from onnx_ir.passes.common import RemoveUnusedNodesPass

    for layer, runs in _runs(model.graph, layers).items():
        first = runs[0].inputs[1]
        for run in runs[1:]:
            value = run.inputs[1]
            if value is first:
                continue
            if not _same(first, value):
                raise InputError(f"{run.name}: takes another weight than {layer}; it can't be swapped; export merged")
            run.replace_input_with(1, first)
    RemoveUnusedNodesPass()(model)


def folded_weights(model: onnx_ir.Model, layers: Sequence[str]) -> dict[str, tuple[str, bool]]:
    """Layer → the initializer of its weight, and whether that lies as `(in, out)`."""
    return {layer: _weight(runs[0]) for layer, runs in _runs(model.graph, layers).items()}


def _runs(graph: onnx_ir.Graph, layers: Mapping[str, Any] | Sequence[str]) -> dict[str, list[onnx_ir.Node]]:
    """Layer → the nodes that are its product, in graph order (a layer may run several times)."""
    found: dict[str, list[onnx_ir.Node]] = {}
    for node in graph:
        name = layer_of(str(node.name))
        if node.op_type in ("MatMul", "Gemm") and name in layers:
            found.setdefault(name, []).append(node)
    missing = [layer for layer in layers if layer not in found]
    if missing:
        raise InputError(
            f"the graph has no product for layer {missing[0]}; its adapter can't be swapped; export merged"
        )
    return found


def _groups(nodes: Mapping[str, list[onnx_ir.Node]], plans: Mapping[str, LayerPlan]) -> list[_Group]:
    """Bypass layers by common inputs, factored ones alone, in graph order."""
    groups: dict[Any, _Group] = {}
    for layer, runs in nodes.items():
        form = plans[layer].form
        if form == "untouched":
            continue
        key: Any = tuple(id(run.inputs[0]) for run in runs) if form == "bypass" else layer
        group = groups.setdefault(key, _Group([], [[] for _ in runs]))
        group.layers.append(layer)
        for place, run in enumerate(runs):
            group.runs[place].append(run)
    return list(groups.values())


def _weight(node: onnx_ir.Node) -> tuple[str, bool]:
    """The weight's initializer and whether it lies as (in, out)."""
    value = node.inputs[1]
    if value is None or not value.is_initializer():
        raise InputError(f"{node.name}: its weight is computed in the graph; it can't be swapped; export merged")
    return str(value.name), not (node.op_type == "Gemm" and _attribute(node, "transB", 0))


def _same(one: onnx_ir.Value | None, other: onnx_ir.Value | None) -> bool:
    """Whether both hold the same numbers."""
    a, b = (None if value is None else value.const_value for value in (one, other))
    return a is not None and b is not None and np.array_equal(a.numpy(), b.numpy())


def _attribute(node: onnx_ir.Node, name: str, default: float) -> Any:
    found = node.attributes.get(name)
    return default if found is None else found.value


class _Surgeon:
    """Holds the graph, what each product took before the surgery (`inputs`, by name), and `sigma` split by groups.

    `own` is what each group adds to its part of sigma: `s` or zeros. One addition makes the scales of all layers.
    """

    def __init__(
        self, graph: onnx_ir.Graph, shapes: Shapes, inputs: Mapping[onnx_ir.Node, str], own: Sequence[Floats]
    ) -> None:
        import onnx_ir

        self.graph, self.shapes, self.inputs = graph, shapes, inputs
        self.ids = graph.inputs[0]
        self.sizes, self.own = [len(part) for part in own], np.concatenate(own)[None]
        zeros = np.zeros_like(self.own)
        self.sigma = onnx_ir.Value(
            name=SIGMA,
            shape=onnx_ir.Shape(["adapters", zeros.shape[1]]),
            type=onnx_ir.TensorType(onnx_ir.DataType.FLOAT),
            const_value=onnx_ir.tensor(zeros, name=SIGMA),
        )
        graph.inputs.append(self.sigma)
        graph.register_initializer(self.sigma)
        self._split: dict[int, list[onnx_ir.Value]] = {}
        self._made: dict[str, onnx_ir.Value] = {}
        self._count = 0

    def operate(
        self, place: int, group: _Group, plans: Mapping[str, LayerPlan], weights: Mapping[str, tuple[str, bool]]
    ) -> list[LayerSpec]:
        """One group, all its runs. Returns its layers' specs."""
        first = group.layers[0]
        down = f"{first}.svfit.A"
        self.constant(down, np.concatenate([plans[name].A for name in group.layers], axis=1))
        for run in group.runs:
            self._run(place, run, [plans[layer_of(str(node.name))] for node in run], self._made[down])
        specs, offset = [], 0
        for layer in group.layers:
            plan = plans[layer]
            weight, transposed = weights[layer]
            base = f"{layer}.svfit.s" if plan.form == "factored" else weight
            up = f"{layer}.svfit.B"
            specs.append(LayerSpec(layer, plan.rank, plan.kept, plan.form, down, offset, up, base, weight, transposed))
            offset += len(plan.kept)
        return specs

    def _run(self, place: int, nodes: list[onnx_ir.Node], plans: list[LayerPlan], down: onnx_ir.Value) -> None:
        x = nodes[0].inputs[0]
        assert x is not None  # noqa: S101 (a product has an input)
        shape, kind = self.shapes.example(self.inputs[nodes[0]]), self.shapes.kind(self.inputs[nodes[0]])
        rank = len(shape)
        if kind == "other" or (kind == "fixed" and (rank < 3 or shape[0] != 1)):
            raise InputError(
                f"{nodes[0].name}: takes a tensor {shape} in which rows can't be told apart; it can't be swapped;"
                " export merged"
            )
        if kind == "tokens":
            x = self.make("Reshape", [x, self._by_row(shape[1])])
            rank = 3
        h = self.make("MatMul", [x, down], name=f"{nodes[0].name}.svfit.down")
        scaled = self._scaled(place, rank, h, plans)
        for node, plan, value in zip(nodes, plans, scaled, strict=True):
            layer = layer_of(str(node.name))
            up = self.constant(f"{layer}.svfit.B", plan.B)
            change = self.make("MatMul", [value, up], name=f"{node.name}.svfit.up")
            if kind == "tokens":
                flat = self.constant(f"svfit.flat.{plan.B.shape[1]}", np.array([-1, plan.B.shape[1]], dtype=np.int64))
                change = self.make("Reshape", [change, flat])
            result = self._replace(node, change) if plan.form == "factored" else self._add(node, change)
            if kind == "fixed":
                follow(self.graph, result, node.outputs[0], self.shapes, self.sigma)

    def _scaled(self, place: int, rank: int, h: onnx_ir.Value, plans: list[LayerPlan]) -> list[onnx_ir.Value]:
        """`(x A) ∘ sigma`, or `(x A) ∘ (s + sigma)`, of each layer of a group."""
        moved = self.make("Mul", [h, self._scales(rank)[place]])
        if len(plans) == 1:
            return [moved]
        sizes = np.array([len(plan.kept) for plan in plans], dtype=np.int64)
        return self.split(moved, self.constant(f"svfit.sizes.{'.'.join(map(str, sizes))}", sizes))

    def _scales(self, rank: int) -> list[onnx_ir.Value]:
        """`sigma` and what is added to it, by groups, each `(b, 1, ..., k)` of the given rank."""
        if rank not in self._split:
            value = self.sigma
            if self.own.any():
                if "svfit.scales" not in self._made:
                    own = self.constant("svfit.own", self.own)
                    self._made["svfit.scales"] = self.make("Add", [self.sigma, own])
                value = self._made["svfit.scales"]
            if rank > 2:
                axes = self.constant(f"svfit.axes.{rank}", np.arange(1, rank - 1, dtype=np.int64))
                value = self.make("Unsqueeze", [value, axes])
            sizes = self.constant("svfit.groups", np.array(self.sizes, dtype=np.int64))
            self._split[rank] = self.split(value, sizes) if len(self.sizes) > 1 else [value]
        return self._split[rank]

    def _by_row(self, width: int) -> onnx_ir.Value:
        """The shape `[batch, -1, width]`."""
        if "svfit.batch" not in self._made:
            self._made["svfit.batch"] = self.make("Shape", [self.ids], {"start": 0, "end": 1})
        rest = self.constant(f"svfit.rest.{width}", np.array([-1, width], dtype=np.int64))
        return self.make("Concat", [self._made["svfit.batch"], rest], {"axis": 0})

    def _add(self, node: onnx_ir.Node, change: onnx_ir.Value) -> onnx_ir.Value:
        """`y + change`, after the bias where one follows: so runtimes still see a product and its bias together."""
        y = node.outputs[0]
        uses = list(y.uses())
        if len(uses) == 1 and uses[0][0].op_type == "Add":
            other = uses[0][0].inputs[1 - uses[0][1]]
            if other is not None and other.is_initializer() and len(other.shape or ()) == 1:
                y = uses[0][0].outputs[0]
        total = self.make("Add", [y, change])
        self._redirect(y, total)
        return total

    def _replace(self, node: onnx_ir.Node, value: onnx_ir.Value) -> onnx_ir.Value:
        """The product gone, its bias kept."""
        bias = node.inputs[2] if len(node.inputs) > 2 else None
        if bias is not None:
            value = self.make("Add", [value, bias])
        self._redirect(node.outputs[0], value)
        self.graph.remove(node, safe=True)
        return value

    def _redirect(self, old: onnx_ir.Value, new: onnx_ir.Value) -> None:
        """Every use of `old` but that in `new`'s own node becomes one of `new`, a graph output's name included."""
        for user, index in list(old.uses()):
            if user is not new.producer():
                user.replace_input_with(index, new)
        for place, output in enumerate(self.graph.outputs):
            if output is old:
                name = str(old.name)
                old.name, new.name = f"{name}.before", name
                new.shape, new.type = old.shape, old.type
                self.graph.outputs[place] = new

    def constant(self, name: str, array: npt.NDArray[Any]) -> onnx_ir.Value:
        """An initializer of this name, made once."""
        import onnx_ir

        if name not in self._made:
            tensor = onnx_ir.tensor(np.ascontiguousarray(array), name=name)
            value = onnx_ir.Value(
                name=name, shape=onnx_ir.Shape(array.shape), type=onnx_ir.TensorType(tensor.dtype), const_value=tensor
            )
            self.graph.register_initializer(value)
            self._made[name] = value
        return self._made[name]

    def make(
        self, op: str, inputs: list[onnx_ir.Value], attributes: dict[str, Any] | None = None, name: str | None = None
    ) -> onnx_ir.Value:
        return self._append(op, inputs, attributes or {}, 1, name)[0]

    def split(self, value: onnx_ir.Value, sizes: onnx_ir.Value) -> list[onnx_ir.Value]:
        """Along the last axis."""
        assert sizes.shape is not None  # noqa: S101 (made by `constant`)
        return self._append("Split", [value, sizes], {"axis": -1}, sizes.shape.numpy()[0], None)

    def _append(
        self, op: str, inputs: list[onnx_ir.Value], attributes: dict[str, Any], outputs: int, name: str | None
    ) -> list[onnx_ir.Value]:
        import onnx_ir

        self._count += 1
        number = self._count
        node = onnx_ir.node(op, inputs, attributes, num_outputs=outputs, name=name or f"svfit.{op}.{number}")
        for place, value in enumerate(node.outputs):
            value.name = f"svfit.{number}.{place}"
        self.graph.append(node)
        return list(node.outputs)
