"""Graphs written by hand for the surgery, each with one thing that an exporter may do, and the check they all share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from export.swap.build import HeadGraph, SwapFiles, build_swap
from export.swap.cut import layer_of
from export.swap.inject import LayerPlan
from export.swap.shapes import PROBES
from serve.swap import Form

WIDTH, CLASSES, VOCABULARY = 8, 3, 20
WHOLE: dict[str, int | None] = {"classifier.weight": 0, "classifier.bias": 0}
LIMIT = 1e-5  # float32 sums of a few dozen products in another order; values are of size 1
Node = tuple[str, Sequence[str], Sequence[str], dict[str, Any]]
Floats = NDArray[np.float32]

EMBED: Node = ("Gather", ["embeddings", "input_ids"], ["x"], {"name": "embeddings"})
CLASSIFY: Node = ("Gemm", ["pooled", "classifier.weight", "classifier.bias"], ["logits"], {"transB": 1})


def product(layer: str, x: str, y: str, weight: str = "") -> Node:
    return ("MatMul", [x, weight or f"{layer}.weight.T"], [y], {"name": layer})


def mean(x: str) -> Node:
    """Over the sequence, (batch, sequence, width) to (batch, width)."""
    return ("ReduceMean", [x, "second"], ["pooled"], {"keepdims": 0})


def normal(*shape: int, seed: int = 0) -> Floats:
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)


def hand_graph(nodes: Sequence[Node], given: Mapping[str, NDArray[Any]] | None = None) -> onnx.ModelProto:
    """A graph of int64 `input_ids` and `attention_mask` (batch, sequence) to float32 `logits` (batch, CLASSES).

    Initializers that `given` doesn't hold are made: `<layer>.weight.T (8, 8)`, the embeddings, a classifier.
    """
    values: dict[str, NDArray[Any]] = {
        "embeddings": normal(VOCABULARY, WIDTH),
        "classifier.weight": normal(CLASSES, WIDTH, seed=1),
        "classifier.bias": normal(CLASSES, seed=2),
        "zero": np.array([0]),
        "first": np.array([1]),
        "second": np.array([1]),
        "last": np.array([2]),
        **(given or {}),
    }
    made = {name for _, _, outputs, _ in nodes for name in outputs} | {"input_ids", "attention_mask", ""}
    tensors = []
    for place, name in enumerate(dict.fromkeys(name for _, inputs, _, _ in nodes for name in inputs)):
        if name not in made:
            tensors.append(numpy_helper.from_array(values.get(name, normal(WIDTH, WIDTH, seed=10 + place) / 2), name))
    graph = helper.make_graph(
        [helper.make_node(op, inputs, outputs, **attributes) for op, inputs, outputs, attributes in nodes],
        "hand",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"])
            for name in ("input_ids", "attention_mask")
        ],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", CLASSES])],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def hand_feeds(batch: int, sequence: int) -> dict[str, NDArray[np.int64]]:
    rng = np.random.default_rng([batch, sequence])
    lengths = rng.integers(1, sequence + 1, size=batch)
    mask = (np.arange(sequence)[None] < lengths[:, None]).astype(np.int64)
    return {"input_ids": rng.integers(0, VOCABULARY, size=(batch, sequence)) * mask, "attention_mask": mask}


def hand_probes() -> list[dict[str, NDArray[np.int64]]]:
    return [hand_feeds(*shape) for shape in PROBES]


def hand_plans(base: onnx.ModelProto, forms: Mapping[str, Form]) -> dict[str, LayerPlan]:
    """The SVD of each layer's weight; every second direction in bypass form."""
    plans = {}
    for layer, form in forms.items():
        U, s, Vh = np.linalg.svd(matrix(base, layer), full_matrices=False)
        kept = list({"bypass": range(0, len(s), 2), "factored": range(len(s)), "untouched": range(0)}[form])
        plans[layer] = LayerPlan(form, len(s), tuple(kept), U[:, kept], s[kept], Vh[kept])
    return plans


def build_many(folder: Path) -> SwapFiles:
    """A swappable graph of nine layers in every form, three to an input."""
    layers = [f"{name}{place}" for place in range(3) for name in ("query", "key", "value")]
    nodes = [EMBED, *(product(layer, "x", f"{layer}.y") for layer in layers)]
    base = hand_graph([*nodes, ("Sum", [f"{layer}.y" for layer in layers], ["sum"], {}), mean("sum"), CLASSIFY])
    forms: tuple[Form, ...] = ("bypass", "factored", "bypass", "untouched")
    plans = hand_plans(base, {layer: forms[place % 4] for place, layer in enumerate(layers)})
    return build_swap(plans, [HeadGraph(base, WHOLE, hand_probes())], folder)


def matrix(base: onnx.ModelProto, layer: str) -> Floats:
    """A layer's weight as (in, out)."""
    node = next(node for node in base.graph.node if node.name == layer)
    value = next(numpy_helper.to_array(tensor) for tensor in base.graph.initializer if tensor.name == node.input[1])
    return value.T if any(entry.name == "transB" and entry.i for entry in node.attribute) else value


def session(model: onnx.ModelProto | Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    source = str(model) if isinstance(model, Path) else model.SerializeToString()
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def check_swapped(
    base: onnx.ModelProto, forms: Mapping[str, Form], folder: Path, whole: Mapping[str, int | None] = WHOLE
) -> SwapFiles:
    """Build a swappable graph of `base`; rows of one batch, each with a sigma of its own, answer as merged graphs."""
    plans = hand_plans(base, forms)
    files = build_swap(plans, [HeadGraph(base, whole, hand_probes())], folder)
    for name in ("model.onnx", "fold.onnx", "head.onnx"):
        onnx.checker.check_model(str(folder / name))
    backbone, head = session(folder / "model.onnx"), session(folder / "head.onnx")
    own = {t.name: numpy_helper.to_array(t) for t in base.graph.initializer if t.name in whole}
    own |= {name: _turned(base, name) for name in whole if name not in own}

    def answer(feeds: Mapping[str, NDArray[Any]], sigma: Floats | None) -> Floats:
        given = dict(feeds) if sigma is None else {**feeds, "sigma": sigma}
        found = {**feeds, **dict(zip(files.outputs, backbone.run(list(files.outputs), given), strict=True))}
        logits: Floats = head.run(None, {**{name: found[name] for name in files.head.inputs}, **own})[0]
        return logits

    for shape in ((1, 4), (2, 6), (4, 9)):
        feeds = hand_feeds(*shape)
        plain = session(base).run(None, feeds)[0]
        assert np.abs(answer(feeds, None) - plain).max() <= LIMIT
        sigmas = [normal(1, files.width, seed=row) * np.float32(0.5) for row in range(shape[0])]
        mixed = answer(feeds, np.concatenate(sigmas))
        for row, sigma in enumerate(sigmas):
            wanted = session(_merged(base, plans, files, sigma)).run(None, feeds)[0]
            assert np.abs(mixed[row] - wanted[row]).max() <= LIMIT, (shape, row)
            assert np.abs(answer(feeds, sigma) - wanted).max() <= LIMIT, (shape, row)
            assert np.abs(wanted[row] - plain[row]).max() > 100 * LIMIT
    return files


def _turned(base: onnx.ModelProto, name: str) -> Floats:
    (value,) = [numpy_helper.to_array(tensor) for tensor in base.graph.initializer if tensor.name == f"{name}.T"]
    return np.ascontiguousarray(value.T)


def _merged(base: onnx.ModelProto, plans: Mapping[str, LayerPlan], files: SwapFiles, sigma: Floats) -> onnx.ModelProto:
    """`base` with `A diag(sigma) B` added to every weight that a layer's products take."""
    model = onnx.ModelProto()
    model.CopyFrom(base)
    start = 0
    for layer in files.layers:
        plan, part = plans[layer.name], sigma[0, start : start + len(layer.kept)]
        start += len(layer.kept)
        change = (plan.A * part) @ plan.B
        nodes = [node for node in model.graph.node if layer_of(node.name) == layer.name]
        turned = {node.input[1]: any(entry.name == "transB" and entry.i for entry in node.attribute) for node in nodes}
        for tensor in model.graph.initializer:
            if tensor.name in turned:
                value = numpy_helper.to_array(tensor) + (change.T if turned[tensor.name] else change)
                tensor.CopyFrom(numpy_helper.from_array(value.astype(np.float32), tensor.name))
    return model
