"""How tensors lie, told from runs of a graph written by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hand_graphs import CLASSIFY, EMBED, WIDTH, hand_feeds, hand_graph, hand_probes, mean, normal

from export.swap.shapes import PROBES, Kind, Shapes, probe
from serve.errors import InputError

KINDS: dict[str, Kind] = {
    "input_ids": "rows",
    "x": "rows",
    "flat_tokens": "tokens",
    "joined": "rows",
    "kept_tokens": "other",
    "turned": "other",
    "heads_lead": "other",
    "places": "fixed",
    "embeddings": "fixed",
    "count": "other",
    "one_number": "fixed",
    "sizes": "fixed",
    "logits": "rows",
}


@pytest.fixture(scope="module")
def shapes() -> Shapes:
    nodes = [
        EMBED,
        ("Reshape", ["x", "flat"], ["flat_tokens"], {}),
        ("Reshape", ["x", "row"], ["joined"], {}),
        ("Reshape", ["attention_mask", "line"], ["mask"], {}),
        ("Cast", ["mask"], ["chosen"], {"to": 9}),
        ("Compress", ["flat_tokens", "chosen"], ["kept_tokens"], {"axis": 0}),
        ("Transpose", ["x"], ["turned"], {"perm": [1, 0, 2]}),
        ("Reshape", ["x", "heads"], ["heads_lead"], {}),
        ("Shape", ["input_ids"], ["sizes"], {}),
        ("Gather", ["sizes", "one"], ["length"], {}),
        ("Range", ["start", "length", "one"], ["steps"], {}),
        ("Gather", ["positions", "steps"], ["places"], {}),
        ("NonZero", ["attention_mask"], ["count"], {}),
        ("ReduceSum", ["x"], ["one_number"], {"keepdims": 0}),
        mean("x"),
        CLASSIFY,
    ]
    given = {
        "flat": np.array([-1, WIDTH]),
        "row": np.array([0, -1]),
        "line": np.array([-1]),
        "heads": np.array([-1, 2]),
        "one": np.array(1),
        "start": np.array(0),
        "positions": normal(16, WIDTH),
    }
    return probe(hand_graph(nodes, given), hand_probes())


@pytest.mark.parametrize("name", KINDS)
def test_kinds(shapes: Shapes, name: str) -> None:
    assert shapes.kind(name) == KINDS[name]


def test_sizes_and_examples(shapes: Shapes) -> None:
    assert shapes.sizes == PROBES
    assert shapes.example("x") == (3, 7, WIDTH)
    assert shapes.found["places"] == ((7, WIDTH), (7, WIDTH), (11, WIDTH))
    assert shapes.example("one_number") == ()


def test_a_tensor_may_have_a_further_name(shapes: Shapes) -> None:
    other = shapes.renamed({"x": "features"})
    assert other.example("features") == other.example("x") == (3, 7, WIDTH)
    assert "features" not in shapes.found


def test_the_probed_graph_stays_as_it_was() -> None:
    graph = hand_graph([EMBED, mean("x"), CLASSIFY])
    before = graph.SerializeToString()
    probe(graph, hand_probes())
    assert graph.SerializeToString() == before


def test_a_graph_that_cannot_run_says_why_in_one_line() -> None:
    nodes = [EMBED, ("Reshape", ["x", "seven"], ["y"], {}), mean("y"), CLASSIFY]
    graph = hand_graph(nodes, {"seven": np.array([-1, 7, WIDTH])})
    with pytest.raises(InputError) as error:
        probe(graph, [hand_feeds(3, 7), hand_feeds(3, 11)])
    assert str(error.value).startswith("the graph can't be probed: ")
    assert "\n" not in str(error.value)
