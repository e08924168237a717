"""Several kinds of heads on one backbone: classes of a row, classes of each token, and a vector without weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hand_graphs import (
    CLASSES,
    CLASSIFY,
    EMBED,
    WHOLE,
    WIDTH,
    Floats,
    Node,
    hand_feeds,
    hand_graph,
    hand_plans,
    hand_probes,
    mean,
    normal,
    product,
    session,
)

from export.swap.build import HeadGraph, build_swap
from export.swap.cut import cut
from export.swap.shapes import probe
from serve.errors import InputError
from serve.swap import HeadSpec

SHARED: dict[str, Any] = {"one.weight.T": normal(WIDTH, WIDTH, seed=3) / 2, "gain": normal(WIDTH, seed=4)}
ENCODE: list[Node] = [EMBED, product("one", "x", "y"), ("Mul", ["y", "gain"], ["z"], {})]
ROW: list[Node] = [*ENCODE, ("Tanh", ["z"], ["t"], {}), mean("t"), CLASSIFY]
TAGS: dict[str, int | None] = {"tags.weight": 1}
TOKEN: list[Node] = [*ENCODE, ("MatMul", ["z", "tags.weight"], ["logits"], {})]
VECTOR: list[Node] = [*ENCODE, mean("z"), ("Tanh", ["pooled"], ["logits"], {})]


def graph(nodes: list[Node], **given: Any) -> onnx.ModelProto:
    found = hand_graph(nodes, {**SHARED, "tags.weight": normal(WIDTH, CLASSES, seed=5), **given})
    del found.graph.output[0].type.tensor_type.shape.dim[:]
    return found


def heads(**bases: onnx.ModelProto) -> list[HeadGraph]:
    kinds: dict[str, Any] = {"token": (TAGS, "token"), "vector": ({}, "embedding")}
    return [
        HeadGraph(base, whole, hand_probes(), name, kind=kind)
        for name, base in bases.items()
        for whole, kind in [kinds.get(name, (WHOLE, "row"))]
    ]


def weights(base: onnx.ModelProto, spec: HeadSpec) -> dict[str, Floats]:
    held = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in base.graph.initializer}
    return {weight.name: held[weight.name] for weight in spec.weights}


def test_a_deep_cut_leaves_pooling_to_the_head() -> None:
    base = graph(ROW)
    parts = cut(base, WHOLE, ("one",), probe(base, hand_probes()), deep=True)
    assert [node.op_type for node in parts.backbone.graph] == ["Gather", "MatMul", "Mul"]
    assert [node.op_type for node in parts.head.graph] == ["Tanh", "ReduceMean", "Gemm"]
    assert [str(size) for size in parts.backbone.graph.outputs[0].shape or ()] == ["batch", "sequence", "8"]


def test_one_backbone_answers_rows_tokens_and_vectors(tmp_path: Path) -> None:
    bases = {"row": graph(ROW), "token": graph(TOKEN), "vector": graph(VECTOR)}
    plans = hand_plans(bases["row"], {"one": "bypass"})
    files = build_swap(plans, heads(**bases), tmp_path)
    assert [(head.file, head.kind) for head in files.heads] == [
        ("head.onnx", "row"),
        ("head.token.onnx", "token"),
        ("head.vector.onnx", "embedding"),
    ]
    feeds, sigma = hand_feeds(3, 5), normal(3, files.width, seed=6)
    found = dict(
        zip(
            files.outputs,
            session(tmp_path / "model.onnx").run(list(files.outputs), {**feeds, "sigma": sigma}),
            strict=True,
        )
    )
    plan = plans["one"]
    for spec in files.heads:
        base = bases[spec.name]
        given = {name: {**feeds, **found}[name] for name in spec.inputs}
        (answer,) = session(tmp_path / spec.file).run([spec.output], {**given, **weights(base, spec)})
        for place in range(3):  # merged with each row's own sigma
            folded = SHARED["one.weight.T"] + plan.A @ np.diag(sigma[place]) @ plan.B
            alone = graph({"row": ROW, "token": TOKEN, "vector": VECTOR}[spec.name], **{"one.weight.T": folded})
            (wanted,) = session(alone).run(None, feeds)
            np.testing.assert_allclose(answer[place], wanted[place], atol=1e-5)


def test_a_head_tells_the_shape_of_what_it_gives(tmp_path: Path) -> None:
    files = build_swap(
        hand_plans(graph(ROW), {"one": "bypass"}),
        heads(row=graph(ROW), token=graph(TOKEN), vector=graph(VECTOR)),
        tmp_path,
    )
    shapes = [session(tmp_path / head.file).get_outputs()[0].shape for head in files.heads]
    assert shapes == [["batch", "classes"], ["batch", "sequence", "classes"], ["batch", WIDTH]]


def test_graphs_that_end_their_encoder_elsewhere_share_no_backbone(tmp_path: Path) -> None:
    pooled = [*ENCODE, mean("z"), ("Mul", ["pooled", "gain"], ["scaled"], {}), ("Tanh", ["scaled"], ["logits"], {})]
    with pytest.raises(InputError, match="one backbone can't serve row and vector: vector begins at features"):
        build_swap(hand_plans(graph(ROW), {"one": "bypass"}), heads(row=graph(ROW), vector=graph(pooled)), tmp_path)
