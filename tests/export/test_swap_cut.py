"""Where a graph is cut: what the tasks share, what a head holds, and what can't be cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir
import pytest
from architecture_cases import CASES
from exported_bert import Exported
from hand_graphs import CLASSIFY, EMBED, WHOLE, WIDTH, check_swapped, hand_graph, hand_probes, mean, normal, product
from swap_models import make_plans, make_probes, whole_parameters

from export.swap.build import HeadGraph, build_swap
from export.swap.cut import Cut, cut, layer_of
from export.swap.shapes import probe
from serve.errors import InputError
from serve.swap import HeadWeight

PLAIN = [EMBED, product("one", "x", "y"), ("Tanh", ["y"], ["z"], {}), mean("z"), CLASSIFY]


def made(base: onnx.ModelProto, whole: dict[str, int | None] = WHOLE, layers: tuple[str, ...] = ("one",)) -> Cut:
    return cut(base, whole, layers, probe(base, hand_probes()))


def refused(base: onnx.ModelProto, whole: dict[str, int | None] = WHOLE, layers: tuple[str, ...] = ("one",)) -> str:
    with pytest.raises(InputError) as error:
        made(base, whole, layers)
    assert "\n" not in str(error.value)
    return str(error.value)


def operators(model: onnx_ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]


def test_the_cut_goes_where_the_parameters_trained_whole_come_in() -> None:
    parts = made(hand_graph(PLAIN))
    assert operators(parts.backbone) == ["Gather", "MatMul", "Tanh", "ReduceMean"]
    assert operators(parts.head) == ["Gemm"]
    assert parts.outputs == parts.spec.inputs == ("features",)
    assert parts.spec.weights == (
        HeadWeight("classifier.bias", ("classes",)),
        HeadWeight("classifier.weight", ("classes", WIDTH)),
    )
    assert [str(size) for size in parts.backbone.graph.outputs[0].shape or ()] == ["batch", "8"]
    assert [str(size) for size in parts.head.graph.outputs[0].shape or ()] == ["batch", "classes"]
    assert set(parts.head.graph.initializers) == set(WHOLE)
    assert "attention_mask" in [value.name for value in parts.backbone.graph.inputs]  # a bundle's inputs stay its own


def test_the_given_graph_stays_as_it_was() -> None:
    base = hand_graph(PLAIN)
    before = base.SerializeToString()
    made(base)
    assert base.SerializeToString() == before


def test_what_no_weight_touched_is_made_again_in_the_head(tmp_path: Path) -> None:
    # as GPT-2's: the place of the last token comes from the mask, and picks among logits of all tokens
    nodes = [
        *PLAIN[:3],
        ("MatMul", ["z", "classifier.weight.T"], ["scores"], {"name": "classifier"}),
        ("ReduceSum", ["attention_mask", "first"], ["lengths"], {"keepdims": 1}),
        ("Sub", ["lengths", "first"], ["place"], {}),
        ("Unsqueeze", ["place", "last"], ["index"], {}),
        ("Shape", ["scores"], ["sizes"], {"start": 2}),
        ("Concat", ["ones", "sizes"], ["wide"], {"axis": 0}),
        ("Expand", ["index", "wide"], ["indices"], {}),
        ("GatherElements", ["scores", "indices"], ["picked"], {"axis": 1}),
        ("Squeeze", ["picked", "first"], ["logits"], {}),
    ]
    given = {"classifier.weight.T": normal(WIDTH, 3), "ones": np.array([1, 1])}
    whole: dict[str, int | None] = {"classifier.weight": 0}
    base = hand_graph(nodes, given)
    parts = made(base, whole)
    assert parts.spec.inputs == ("features", "attention_mask")
    assert parts.spec.weights == (HeadWeight("classifier.weight", ("classes", WIDTH)),)  # though it lies turned
    assert [str(size) for size in parts.backbone.graph.outputs[0].shape or ()] == ["batch", "sequence", "8"]
    assert operators(parts.backbone) == ["Gather", "MatMul", "Tanh"]
    check_swapped(base, {"one": "bypass"}, tmp_path, whole)


def test_a_parameter_held_both_ways_is_one_input_of_the_head(tmp_path: Path) -> None:
    weight = normal(WIDTH, WIDTH) / 2
    nodes = [
        *PLAIN[:4],
        ("MatMul", ["pooled", "dense.weight.T"], ["u"], {"name": "dense"}),
        ("Tanh", ["u"], ["v"], {}),
        ("Gemm", ["v", "dense.weight"], ["w"], {"name": "dense#2", "transB": 1}),
        ("Gemm", ["w", "classifier.weight", "classifier.bias"], ["logits"], {"transB": 1}),
    ]
    base = hand_graph(nodes, {"dense.weight": weight, "dense.weight.T": np.ascontiguousarray(weight.T)})
    whole = {**WHOLE, "dense.weight": None}
    assert [weight.name for weight in made(base, whole).spec.weights] == sorted(whole)
    check_swapped(base, {"one": "factored"}, tmp_path, whole)


def test_a_parameter_that_the_graph_does_not_hold_is_refused() -> None:
    said = refused(hand_graph(PLAIN), {**WHOLE, "pooler.weight": None})
    assert said == (
        "the adapter trains pooler.weight whole, which the exported graph doesn't hold as it is;"
        " train other modules whole (adapter.head_modules), or export merged"
    )


def test_an_adapted_layer_behind_one_that_is_trained_whole_is_refused() -> None:
    nodes = [
        EMBED,
        ("Mul", ["x", "norm.weight"], ["normed"], {}),
        product("one", "normed", "y"),
        *PLAIN[2:],
    ]
    said = refused(hand_graph(nodes, {"norm.weight": normal(WIDTH)}), {**WHOLE, "norm.weight": None})
    assert "but one comes after one of classifier.bias, classifier.weight, norm.weight;" in said
    assert said.endswith(
        "train fewer modules whole (adapter.head_modules, train_bias, train_layernorm), or export merged"
    )


def test_layer_norms_trained_whole_are_refused_on_a_real_graph(bert: Exported, tmp_path: Path) -> None:
    norms = {name: None for name, _ in bert.model.named_parameters() if "LayerNorm" in name}
    whole = whole_parameters(bert.model) | norms
    base = onnx.load(bert.path)
    probes = make_probes(CASES[0], bert.model)
    with pytest.raises(InputError, match=r"but bert\.encoder\.layer\.0\.attention.* comes after .*train_layernorm"):
        build_swap(make_plans(bert.model), [HeadGraph(base, whole, probes)], tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_graph_with_nothing_left_to_share_is_refused() -> None:
    said = refused(hand_graph(PLAIN), {**WHOLE, "embeddings": None}, ())
    assert said == "nothing is left to share: the parameters trained whole come before every weight; export merged"


def test_a_cut_through_what_is_not_batch_first_is_refused() -> None:
    nodes = [
        *PLAIN[:3],
        ("Transpose", ["z"], ["turned"], {"perm": [1, 0, 2]}),
        ("MatMul", ["turned", "pick.weight.T"], ["picked"], {"name": "pick"}),
        ("ReduceMean", ["picked", "zero"], ["pooled"], {"keepdims": 0}),
        CLASSIFY,
    ]
    said = refused(hand_graph(nodes), {**WHOLE, "pick.weight": None})
    assert said.startswith("the cut would go through turned (7, 3, 8), not batch first;")
    assert said.endswith("or export merged")


@pytest.mark.parametrize(
    ("node", "layer"), [("a.b", "a.b"), ("a.b#2", "a.b"), ("a#b", "a#b"), ("#3", ""), ("a.b#12", "a.b"), ("", "")]
)
def test_a_nodes_name_tells_its_layer(node: str, layer: str) -> None:
    assert layer_of(node) == layer
