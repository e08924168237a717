"""The surgery on graphs written by hand, each with one thing that an exporter may do; and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from architecture_cases import CASES
from exported_bert import Exported
from hand_graphs import (
    CLASSIFY,
    EMBED,
    WHOLE,
    WIDTH,
    Node,
    check_swapped,
    hand_graph,
    hand_plans,
    hand_probes,
    mean,
    normal,
    product,
)
from swap_models import Swappable, all_bypass

from export.swap.build import HeadGraph, build_swap
from export.swap.inject import LayerPlan
from serve.errors import InputError
from serve.swap import Form

FORMS: tuple[Form, ...] = ("bypass", "factored")
POSITIONS: dict[str, np.ndarray] = {"positions": normal(1, 5, WIDTH, seed=7)}
each_form = pytest.mark.parametrize("form", FORMS)


@each_form
def test_layers_of_three_axes_and_of_two(form: Form, tmp_path: Path) -> None:
    nodes = [EMBED, product("one", "x", "y"), ("Tanh", ["y"], ["z"], {}), mean("z")]
    nodes[-1] = ("ReduceMean", ["z", "second"], ["middle"], {"keepdims": 0})
    nodes += [product("two", "middle", "raw"), ("Tanh", ["raw"], ["pooled"], {}), CLASSIFY]
    files = check_swapped(hand_graph(nodes), {"one": form, "two": form}, tmp_path)
    assert [(layer.name, layer.form) for layer in files.layers] == [("one", form), ("two", form)]


@each_form
def test_a_layer_over_flattened_tokens_with_a_bias_inside_its_product(form: Form, tmp_path: Path) -> None:
    nodes = [
        EMBED,
        ("Reshape", ["x", "flat"], ["tokens"], {}),
        ("Gemm", ["tokens", "one.weight", "one.bias"], ["y"], {"name": "one", "transB": 1}),
        ("Shape", ["input_ids"], ["sizes"], {}),
        ("Concat", ["sizes", "width"], ["shape"], {"axis": 0}),
        ("Reshape", ["y", "shape"], ["back"], {}),
        ("Tanh", ["back"], ["z"], {}),
        mean("z"),
        CLASSIFY,
    ]
    given = {"flat": np.array([-1, WIDTH]), "width": np.array([6]), "one.bias": normal(6), "one.weight": normal(6, 8)}
    classifier = {"classifier.weight": normal(3, 6)}
    files = check_swapped(hand_graph(nodes, {**given, **classifier}), {"one": form}, tmp_path)
    assert not files.layers[0].transposed


@each_form
def test_a_layer_whose_output_is_where_the_cut_goes(form: Form, tmp_path: Path) -> None:
    nodes = [EMBED, ("ReduceMean", ["x", "second"], ["m"], {"keepdims": 0}), product("one", "m", "pooled"), CLASSIFY]
    assert check_swapped(hand_graph(nodes), {"one": form}, tmp_path).outputs == ("features",)


@each_form
def test_a_layer_that_takes_what_the_head_takes_too(form: Form, tmp_path: Path) -> None:
    nodes = [
        EMBED,
        product("zero", "x", "raw"),
        ("Tanh", ["raw"], ["hidden"], {}),
        product("one", "hidden", "y"),
        ("Tanh", ["y"], ["z"], {}),
        ("MatMul", ["hidden", "pick.weight.T"], ["scores"], {"name": "pick"}),
        ("Mul", ["scores", "z"], ["picked"], {}),
        mean("picked"),
        CLASSIFY,
    ]
    whole = {**WHOLE, "pick.weight": None}
    files = check_swapped(hand_graph(nodes), {"zero": form, "one": form}, tmp_path, whole)
    assert sorted(files.outputs) == ["features", "features_1"]


@each_form
def test_a_layer_that_runs_twice_with_copies_of_its_weight(form: Form, tmp_path: Path) -> None:
    weight = normal(WIDTH, WIDTH)
    nodes = [
        EMBED,
        product("one", "x", "y", "one.weight.T"),
        ("Tanh", ["y"], ["z"], {}),
        product("one#2", "z", "u", "val_7"),
        ("Tanh", ["u"], ["v"], {}),
        mean("v"),
        CLASSIFY,
    ]
    base = hand_graph(nodes, {"one.weight.T": weight, "val_7": weight})
    files = check_swapped(base, {"one": form}, tmp_path)
    assert files.width == len(files.layers[0].kept)
    names = {entry.name for entry in onnx.load(tmp_path / "fold.onnx", load_external_data=False).graph.initializer}
    assert "one.weight.T" in names
    assert "val_7" not in names
    other = hand_graph(nodes, {"one.weight.T": weight, "val_7": weight + 1})
    assert "one#2: takes another weight than one" in refused(other, {"one": form}, tmp_path)


@each_form
@pytest.mark.parametrize("lead", [1, 2])  # 2: DeBERTa-v2's heads lead, four of them
def test_a_layer_over_positions_that_are_repeated_for_each_row(form: Form, lead: int, tmp_path: Path) -> None:
    # as in DeBERTa-v2, and with two ways from the layer to the repetition
    keys = np.array([lead, 5, WIDTH // lead])
    nodes = [
        EMBED,
        product("one", "positions", "p"),
        ("Tanh", ["p"], ["q"], {}),
        ("Mul", ["p", "q"], ["gated"], {}),
        ("Reshape", ["gated", "split"], ["heads"], {}),
        ("Transpose", ["heads"], ["turned"], {"perm": [0, 2, 1, 3]}),
        ("Reshape", ["turned", "joined"], ["keys"], {}),
        ("Shape", ["input_ids"], ["rows"], {"start": 0, "end": 1}),
        ("Concat", ["rows", "ones"], ["repeats"], {"axis": 0}),
        ("Tile", ["keys", "repeats"], ["for_rows"], {}),
        ("Reshape", ["for_rows", "by_row"], ["by_rows"], {}),
        ("Transpose", ["by_rows"], ["columns"], {"perm": [0, 2, 1]}),
        ("MatMul", ["x", "columns"], ["scores"], {}),
        mean("scores"),
        CLASSIFY,
    ]
    given = {
        **POSITIONS,
        "split": np.array([1, 5, 2, 4]),
        "joined": keys,
        "by_row": np.array([-1, 5, WIDTH]),
        "ones": np.array([1, 1]),
        "classifier.weight": normal(3, 5),
    }
    check_swapped(hand_graph(nodes, given), {"one": form}, tmp_path)


@each_form
def test_a_layer_over_positions_that_broadcast(form: Form, tmp_path: Path) -> None:
    nodes = [
        EMBED,
        product("one", "positions", "p"),
        ("Transpose", ["p"], ["columns"], {"perm": [0, 2, 1]}),
        ("MatMul", ["x", "columns"], ["scores"], {}),
        ("Tanh", ["scores"], ["z"], {}),
        mean("z"),
        CLASSIFY,
    ]
    check_swapped(hand_graph(nodes, {**POSITIONS, "classifier.weight": normal(3, 5)}), {"one": form}, tmp_path)


@pytest.mark.parametrize(
    ("way", "reason"),
    [
        (("Squeeze", ["p", "zero"], ["q"], {"name": "way"}), "way"),
        (("Gather", ["p", "index"], ["q"], {"name": "way", "axis": 0}), "way"),
        (("Transpose", ["p"], ["q"], {"name": "way", "perm": [1, 0, 2]}), "way"),
        (("ReduceSum", ["p", "zero"], ["q"], {"name": "way", "keepdims": 0}), "way"),
        (("Concat", ["p", "p"], ["q"], {"name": "way", "axis": 0}), "way"),
    ],
)
def test_positions_that_lose_their_leading_axis_are_refused(way: Node, reason: str, tmp_path: Path) -> None:
    nodes = [
        EMBED,
        product("one", "positions", "p"),
        way,
        ("ReduceMean", ["q"], ["m"], {"keepdims": 0}),
        ("Mul", ["x", "m"], ["z"], {}),
        mean("z"),
        CLASSIFY,
    ]
    said = refused(hand_graph(nodes, {**POSITIONS, "index": np.array(0)}), {"one": "bypass"}, tmp_path)
    assert said.startswith(reason)
    assert said.endswith("export merged")


def test_rows_that_cannot_be_told_apart_are_refused(tmp_path: Path) -> None:
    nodes = [
        EMBED,
        ("Transpose", ["x"], ["turned"], {"perm": [1, 0, 2]}),
        product("one", "turned", "y"),
        ("ReduceMean", ["y", "zero"], ["pooled"], {"keepdims": 0}),
        CLASSIFY,
    ]
    said = refused(hand_graph(nodes), {"one": "bypass"}, tmp_path)
    assert said == (
        "one: takes a tensor (7, 3, 8) in which rows can't be told apart; it can't be swapped; export merged"
    )


PLAIN = [EMBED, product("one", "x", "y"), ("Tanh", ["y"], ["z"], {}), mean("z"), CLASSIFY]


def test_a_layer_that_is_not_in_the_graph_is_refused(tmp_path: Path) -> None:
    base = hand_graph(PLAIN)
    plans = hand_plans(base, {"one": "bypass"})
    with pytest.raises(InputError) as error:
        build_swap({**plans, "gone": plans["one"]}, [HeadGraph(base, WHOLE, hand_probes())], tmp_path)
    assert str(error.value) == ("the graph has no product for layer gone; its adapter can't be swapped; export merged")


def test_no_direction_at_all_is_refused(tmp_path: Path) -> None:
    assert "at least one direction; raise export.swap_budget" in refused(
        hand_graph(PLAIN), {"one": "untouched"}, tmp_path
    )


def test_a_weight_that_the_graph_computes_is_refused(tmp_path: Path) -> None:
    nodes = [EMBED, ("Neg", ["one.weight.T"], ["w"], {}), product("one", "x", "y", "w"), *PLAIN[2:]]
    base = hand_graph(nodes)
    plan = LayerPlan("bypass", 8, (0,), normal(8, 1), normal(1), normal(1, 8))
    with pytest.raises(InputError, match=r"one: its weight is computed in the graph.*export merged"):
        build_swap({"one": plan}, [HeadGraph(base, WHOLE, hand_probes())], tmp_path)


def refused(base: onnx.ModelProto, forms: dict[str, Form], folder: Path) -> str:
    with pytest.raises(InputError) as error:
        build_swap(hand_plans(base, forms), [HeadGraph(base, WHOLE, hand_probes())], folder)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_bias_stays_beside_its_product_so_runtimes_fuse_them(tmp_path: Path) -> None:
    nodes = [EMBED, product("one", "x", "raw"), ("Add", ["one.bias", "raw"], ["y"], {}), *PLAIN[2:]]
    check_swapped(hand_graph(nodes, {"one.bias": normal(WIDTH)}), {"one": "bypass"}, tmp_path)
    graph = onnx.load(tmp_path / "model.onnx", load_external_data=False).graph
    (layer,) = [node for node in graph.node if node.name == "one"]
    (after,) = [node for node in graph.node if layer.output[0] in node.input]
    assert "one.bias" in after.input


@pytest.fixture(scope="module")
def bypassed(bert: Exported, tmp_path_factory: pytest.TempPathFactory) -> Swappable:
    return Swappable.make(CASES[0], bert.model, onnx.load(bert.path), tmp_path_factory.mktemp("bypassed"), all_bypass)


def test_query_key_and_value_share_one_product(bypassed: Swappable) -> None:
    graph = onnx.load(bypassed.folder / "model.onnx", load_external_data=False).graph
    down = [node.name.removesuffix(".svfit.down") for node in graph.node if node.name.endswith(".svfit.down")]
    up = [node.name for node in graph.node if node.name.endswith(".svfit.up")]
    assert (len(down), len(up)) == (9, 13)  # twice attention's three as one, its output and two more; the pooler
    prefix = "bert.encoder.layer.0.attention.self"
    places = {layer.name: (layer.down, layer.offset) for layer in bypassed.files.layers}
    assert [places[f"{prefix}.{part}"] for part in ("query", "key", "value")] == [
        (f"{prefix}.query.svfit.A", 0),
        (f"{prefix}.query.svfit.A", 16),
        (f"{prefix}.query.svfit.A", 32),
    ]
    batch = bypassed.batches()[-1]
    sigma, head = bypassed.sigma(0), bypassed.head_weights(0, 3)
    assert np.abs(bypassed.answer(batch.feeds, sigma, head) - bypassed.expected(batch.feeds, sigma, head)).max() < 1e-5
