"""Rows in, answers out, in order."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_bundle import WORDS, Shape, make_bundle, tiny_graph
from tiny_swap import expected_logits, make_swap_bundle, tiny_delta, tiny_head

from serve.bundle import Bundle
from serve.errors import InputError, UsageError
from serve.predictor import MAX_TEXT, Predictor, softmax
from serve.session import GraphSession, open_session


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return Predictor(make_bundle(tmp_path_factory.mktemp("predictor") / "bundle"), threads=1)


def test_a_classification_gives_the_likeliest_label_and_all_probabilities(predictor: Predictor) -> None:
    (answer,) = predictor.predict(["the pump is leaking"])
    assert answer.probabilities is not None
    assert list(answer.probabilities) == ["hvac", "plumbing", "other"]
    assert math.isclose(sum(answer.probabilities.values()), 1.0, rel_tol=1e-12)
    assert answer.label == max(answer.probabilities, key=answer.probabilities.__getitem__)
    assert answer.score == answer.probabilities[answer.label]
    assert answer.value is None
    assert type(answer.score) is float


def test_probabilities_are_the_softmax_of_the_logits(predictor: Predictor) -> None:
    rows = ["the pump", "fan"]
    logits = predictor.logits(rows).astype(np.float64)
    wanted = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    got = [list((answer.probabilities or {}).values()) for answer in predictor.predict(rows)]
    np.testing.assert_allclose(got, wanted, rtol=1e-12)


def test_softmax_takes_logits_that_would_overflow() -> None:
    assert softmax(np.array([[3e38, 0.0], [-3e38, -3e38]], np.float32)).tolist() == [[1.0, 0.0], [0.5, 0.5]]


@given(st.lists(st.lists(st.sampled_from(WORDS[4:]), max_size=12).map(" ".join), max_size=20), st.integers(1, 7))
@settings(max_examples=30, deadline=None)
def test_rows_come_back_in_order_whatever_the_batches(predictor: Predictor, rows: list[str], batch_size: int) -> None:
    got = predictor.logits(rows, batch_size)
    assert got.dtype == np.float32
    assert got.shape == (len(rows), 3)
    for row, line in zip(rows, got, strict=True):
        # padding adds zeros to a float32 sum of at most 16 terms: nothing beyond rounding
        np.testing.assert_allclose(line, predictor.logits([row])[0], atol=1e-5)


def test_no_rows_give_no_answers(predictor: Predictor) -> None:
    assert predictor.predict([]) == []


def test_regression_gives_a_value(tmp_path: Path) -> None:
    path = make_bundle(tmp_path / "bundle", Shape(regression=True))
    (answer,) = Predictor(path).predict(["the pump"])
    assert (answer.label, answer.probabilities) == (None, None)
    assert answer.value == answer.score == float(Predictor(path).logits(["the pump"])[0, 0])


def test_a_pair_bundle_answers_pairs_and_only_pairs(tmp_path: Path) -> None:
    predictor = Predictor(make_bundle(tmp_path / "bundle", Shape(texts=2)))
    assert len(predictor.predict([("the pump", "leaking"), ("fan", "")])) == 2
    with pytest.raises(InputError, match=r"row 2: this bundle takes a pair of texts a row \(got 1\)"):
        predictor.predict([("a", "b"), "the pump"])


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (("a", "b"), "row 1: this bundle takes one text"),
        ((3,), r"row 1: must be text \(got int\)"),
        ("x" * (MAX_TEXT + 1), f"row 1: {MAX_TEXT + 1} characters"),
        ("\udcff", "row 1: holds half a surrogate pair"),
    ],
)
def test_a_row_that_cannot_be_answered_is_named(predictor: Predictor, row: Any, told: str) -> None:
    with pytest.raises(InputError, match=told):
        predictor.predict([row])


def test_senseless_numbers_are_usage_errors(bundle_path: Path, predictor: Predictor) -> None:
    with pytest.raises(UsageError, match="batch size"):
        predictor.predict(["a"], batch_size=0)
    with pytest.raises(UsageError, match="threads"):
        Predictor(bundle_path, threads=0)


def test_a_variant_is_chosen_by_name(bundle_path: Path) -> None:
    bundle = Bundle.open(bundle_path)
    fp32, int8 = (Predictor(bundle, variant=name) for name in ("fp32", "int8"))
    assert Predictor(bundle).variant.name == "fp32"
    assert not np.array_equal(fp32.logits(["the pump"]), int8.logits(["the pump"]))
    with pytest.raises(InputError, match="no variant 'int4'"):
        Predictor(bundle, variant="int4")


@pytest.mark.parametrize("variant", [None, "int8"])
def test_a_swappable_bundle_answers_with_its_first_sealed_adapter(tmp_path: Path, variant: str | None) -> None:
    path = make_swap_bundle(tmp_path / "bundle", (("beta", 2), ("alpha", 1)))
    predictor = Predictor(path, variant=variant, threads=1)
    rows = ["the pump is leaking again", "fan", ""]
    wanted = [
        expected_logits(predictor._encoder.encode(row)[0].tolist(), tiny_delta(2), tiny_head(2, 3)) for row in rows
    ]
    np.testing.assert_allclose(predictor.logits(rows), wanted, atol=1e-4)
    assert [answer.label for answer in predictor.predict(rows)] == [
        predictor.labels[int(row.argmax())] for row in wanted
    ]


def test_a_broken_model_is_told_in_one_line(tmp_path: Path, bundle_path: Path) -> None:
    manifest = Bundle.open(bundle_path).manifest
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\x08\x09not a model")
    with pytest.raises(InputError, match=r"model\.onnx: onnxruntime \S+ can't load it") as caught:
        GraphSession(path, manifest.input, manifest.output)
    assert "\n" not in str(caught.value)


def test_a_graph_that_is_not_as_the_manifest_says_is_refused(tmp_path: Path, bundle_path: Path) -> None:
    import dataclasses

    manifest = Bundle.open(bundle_path).manifest
    path = tmp_path / "model.onnx"
    path.write_bytes(tiny_graph(2))
    more = dataclasses.replace(manifest.input, names=(*manifest.input.names, "token_type_ids"))
    with pytest.raises(InputError, match="the graph takes input_ids"):
        GraphSession(path, more, manifest.output)
    with pytest.raises(InputError, match="no output 'scores'; it has: logits"):
        GraphSession(path, manifest.input, dataclasses.replace(manifest.output, name="scores"))
    session = GraphSession(path, manifest.input, manifest.output)
    ids = np.ones((1, 3), np.int64)
    with pytest.raises(InputError, match=r"has shape \(1, 2\), not \(1, 3\)"):
        session.run({"input_ids": ids, "attention_mask": ids})


def test_a_graph_that_fails_or_gives_nan_is_told(bundle_path: Path) -> None:
    session = open_session(Bundle.open(bundle_path))
    ids = np.ones((1, 3), np.int64)
    with pytest.raises(InputError, match="can't run it"):
        session.run({"input_ids": ids + 1000, "attention_mask": ids})
    with pytest.raises(InputError, match="NaN"):
        session.run({"input_ids": ids, "attention_mask": ids * 0})
