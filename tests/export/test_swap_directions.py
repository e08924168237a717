"""Which directions a swappable graph carries, and how much of an adapter goes through each."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from export.swap.directions import PASSES, Choice, LayerMoves, choose, kept_share
from export.swap.moved import direction_energy
from serve.errors import InputError


def layer(out: int, inp: int, *shares: list[float]) -> LayerMoves:
    rank = min(out, inp)
    table = np.zeros((len(shares), rank))
    for row, values in zip(table, shares, strict=True):
        row[: len(values)] = values
        row /= row.sum() or 1
    return LayerMoves(out, inp, table)


def cost(moves: dict[str, LayerMoves], choices: dict[str, Choice]) -> int:
    total = 0
    for name, choice in choices.items():
        one = moves[name]
        if choice.form == "factored":
            total += one.rank * (one.out + one.inp) - one.out * one.inp
        else:
            total += len(choice.kept) * (one.out + one.inp) + (PASSES * one.out if choice.kept else 0)
    return total


@st.composite
def models(draw: st.DrawFn) -> dict[str, LayerMoves]:
    found = {}
    adapters = draw(st.integers(1, 3))
    for number in range(draw(st.integers(1, 5))):
        out, inp = draw(st.sampled_from([(32, 32), (128, 32), (32, 96), (24, 40)]))
        seed = draw(st.integers(0, 99))
        shares = np.random.default_rng(seed).exponential(size=(adapters, min(out, inp))) ** 2
        found[f"layer{number}"] = LayerMoves(out, inp, shares / shares.sum(axis=1, keepdims=True))
    return found


@given(moves=models(), budget=st.floats(1.02, 3))
@settings(max_examples=60, deadline=None)
def test_the_choice_keeps_within_its_multiply_adds(moves: dict[str, LayerMoves], budget: float) -> None:
    choices = choose(moves, budget)
    base = sum(one.out * one.inp for one in moves.values())
    assert cost(moves, choices) <= (budget - 1) * base
    assert choices.keys() == moves.keys()
    for name, choice in choices.items():
        assert list(choice.kept) == sorted(set(choice.kept))
        assert choice.form != "factored" or len(choice.kept) == moves[name].rank
        assert (choice.form == "untouched") == (not choice.kept)


@given(moves=models())
@settings(max_examples=20, deadline=None)
def test_more_budget_never_keeps_less(moves: dict[str, LayerMoves]) -> None:
    kept = [np.mean(kept_share(moves, choose(moves, budget))) for budget in (1.05, 1.2, 1.5, 2.5)]
    assert all(later >= earlier - 0.01 for earlier, later in itertools.pairwise(kept))  # one step of one layer


def test_a_budget_that_allows_all_keeps_all() -> None:
    moves = {"square": layer(16, 16, [1.0] * 16), "wide": layer(64, 16, [1.0] * 16)}
    choices = choose(moves, 5.0)
    assert kept_share(moves, choices) == pytest.approx([1.0])
    assert choices["wide"].form == "factored"  # a quarter of W, where a bypass of rank 16 takes 1.25 times W


def test_directions_that_nobody_moves_are_never_carried() -> None:
    moves = {"a": layer(32, 32, [0, 0, 3, 0, 5]), "b": layer(32, 32, [0.0])}
    choices = choose(moves, 4.0)
    assert choices["a"].kept == (2, 4)
    assert choices["b"] == Choice("untouched", ())


def test_the_union_of_what_two_adapters_move_is_carried() -> None:
    moves = {"a": layer(32, 32, [1, 0, 0, 0], [0, 0, 0, 1])}
    assert choose(moves, 1.6)["a"].kept == (0, 3)


def test_the_directions_that_add_most_come_first() -> None:
    shares = [0.1] * 32
    for place in (3, 7, 8, 9, 20, 21, 22, 30):
        shares[place] = 1.0
    assert choose({"a": layer(32, 32, shares)}, 1.9)["a"].kept == (3, 7, 8, 9, 20, 21, 22, 30)


def test_adapters_that_move_nothing_are_refused() -> None:
    with pytest.raises(InputError, match="nothing to swap"):
        choose({"a": layer(8, 8, [0.0])}, 1.25)


def test_a_budget_of_one_is_refused() -> None:
    with pytest.raises(InputError, match=r"swap_budget"):
        choose({"a": layer(8, 8, [1.0])}, 1.0)


def test_the_energy_of_a_direction_is_what_it_adds_to_the_output() -> None:
    rng = np.random.default_rng(0)
    W = rng.normal(size=(6, 10)).astype(np.float32)
    U, _, Vh = np.linalg.svd(W, full_matrices=False)
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["x"]),
        helper.make_node("MatMul", ["x", "layer.weight.T"], ["logits"], name="layer"),
    ]
    table = rng.normal(size=(20, 10)).astype(np.float32)
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(n, TensorProto.INT64, ["b", "s"]) for n in ("input_ids", "attention_mask")],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["b", "s", 6])],
        [numpy_helper.from_array(table, "table"), numpy_helper.from_array(np.ascontiguousarray(W.T), "layer.weight.T")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    ids = rng.integers(0, 20, size=(3, 5))
    mask = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 0, 0, 0, 0]])
    delta = rng.normal(size=6).astype(np.float32)
    found = direction_energy(model, {"layer": delta}, {"layer": Vh}, [{"input_ids": ids, "attention_mask": mask}])
    x = table[ids][mask == 1]
    wanted = [np.square(np.outer(x @ Vh[i], U[:, i] * delta[i])).sum(axis=1).mean() for i in range(6)]
    assert found["layer"] == pytest.approx(wanted, rel=1e-4)


def test_a_layer_that_the_graph_lacks_is_refused() -> None:
    graph = helper.make_graph([], "g", [], [])
    with pytest.raises(InputError, match="no product for layer lost"):
        direction_energy(helper.make_model(graph), {"lost": np.ones(3, np.float32)}, {}, [])
