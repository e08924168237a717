"""One batch, many adapters: every row as if it were alone with its own."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from tiny_bundle import WORDS, make_bundle, reseal
from tiny_swap import expected_logits, make_adapter, make_swap_bundle, tiny_delta, tiny_head

from serve.adapters.adapter import LoadedAdapter, read_adapter
from serve.bundle import Bundle
from serve.engine import Arrays, Engine, MergedEngine
from serve.errors import InputError, UsageError
from serve.settings import SINGLE, Settings
from serve.tokenize import TextTokenizer, Tokens

Row = NDArray[np.float32]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return Bundle.open(make_swap_bundle(tmp_path_factory.mktemp("engine") / "bundle"))


@pytest.fixture(scope="module")
def tokenizer(bundle: Bundle) -> TextTokenizer:
    return TextTokenizer(bundle)


@pytest.fixture(scope="module")
def engine(bundle: Bundle, tokenizer: TextTokenizer) -> Engine:
    return Engine(bundle, tokenizer, settings=SINGLE)


@pytest.fixture(scope="module")
def adapters(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> list[LoadedAdapter]:
    """Six adapters of seeds 0 to 5; of these 0 has five labels and 5 is a regression."""
    folder = tmp_path_factory.mktemp("adapters")
    labels = {0: tuple("abcde"), 5: ()}
    made = [make_adapter(folder / str(seed), seed, labels.get(seed, tuple("abc"))) for seed in range(6)]
    return [read_adapter(path, bundle.manifest, named=path.name) for path in made]


def expected(tokens: Tokens, seed: int, classes: int) -> Row:
    logits: Row = expected_logits(tokens[0].tolist(), tiny_delta(seed), tiny_head(seed, classes)).astype(np.float32)
    return logits


def texts(count: int, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS[4:], size=rng.integers(0, 9))) for _ in range(count)]


def test_each_row_of_a_mixed_batch_answers_as_its_adapter_would(
    engine: Engine, tokenizer: TextTokenizer, adapters: list[LoadedAdapter]
) -> None:
    tokens = [tokenizer.encode(text) for text in texts(40)]
    seeds = np.random.default_rng(1).integers(0, 6, size=40).tolist()
    got = engine.run(tokens, [adapters[seed] for seed in seeds])
    for row, column, seed in zip(got, tokens, seeds, strict=True):
        classes = max(1, len(adapters[seed].labels))
        assert row.dtype == np.float32
        assert row.shape == (classes,)
        np.testing.assert_allclose(row, expected(column, seed, classes), atol=1e-4)


@pytest.mark.parametrize("order", [[1, 1, 2, 2], [1, 2, 1, 2], [2, 2, 2, 2], [3]])
def test_grouped_neighbours_and_scattered_rows_come_back_in_order(
    engine: Engine, tokenizer: TextTokenizer, adapters: list[LoadedAdapter], order: list[int]
) -> None:
    tokens = [tokenizer.encode(text) for text in ("the pump", "fan noisy again", "", "line")[: len(order)]]
    got = engine.run(tokens, [adapters[seed] for seed in order])
    for row, column, seed in zip(got, tokens, order, strict=True):
        np.testing.assert_allclose(row, expected(column, seed, 3), atol=1e-4)


def test_no_rows_give_no_answers(engine: Engine) -> None:
    assert engine.run([], []) == []


def test_an_adapter_whose_answer_is_no_number_leaves_its_neighbours_theirs(
    tmp_path: Path, adapters: list[LoadedAdapter]
) -> None:
    path = make_swap_bundle(tmp_path / "bundle")
    model = onnx.load(str(path / "model.onnx"), load_external_data=False)
    _as_int8_scales_by_the_batch(model)
    (path / "model.onnx").write_bytes(model.SerializeToString())
    reseal(path)
    bundle = Bundle.open(path)
    tokenizer = TextTokenizer(bundle)
    wild = dataclasses.replace(adapters[2], sigma=np.full_like(adapters[2].sigma, 3e38))
    tokens = [tokenizer.encode(text) for text in ("the pump", "fan", "line")]
    first, second, third = Engine(bundle, tokenizer).run(tokens, [adapters[1], wild, adapters[1]])
    assert not np.isfinite(second).all()
    np.testing.assert_allclose(first, expected(tokens[0], 1, 3), atol=1e-4)
    np.testing.assert_allclose(third, expected(tokens[2], 1, 3), atol=1e-4)


def _as_int8_scales_by_the_batch(model: onnx.ModelProto) -> None:
    """Add 0 × the largest of the batch to the output: nothing, unless a row of it is no number."""
    (last,) = (node for node in model.graph.node if "pooled" in node.output)
    last.output[0] = "mean"
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(1, np.float32), "nought"))
    for op, inputs, output in (
        ("ReduceMax", ["mean"], "most"),
        ("Mul", ["most", "nought"], "nothing"),
        ("Add", ["mean", "nothing"], "pooled"),
    ):
        model.graph.node.append(onnx.helper.make_node(op, inputs, [output]))


def test_a_backbone_handed_in_takes_the_place_of_the_swappable_one(
    engine: Engine, tokenizer: TextTokenizer, adapters: list[LoadedAdapter]
) -> None:
    asked = []

    def folded(feeds: Arrays) -> Arrays:
        asked.append(sorted(feeds))
        return {"pooled": np.ones((len(feeds["input_ids"]), 32), dtype=np.float32)}

    (row,) = engine.run([tokenizer.encode("the pump")], [adapters[1]], folded)
    head = tiny_head(1, 3)
    np.testing.assert_allclose(row, head["classifier.weight"].sum(axis=1) + head["classifier.bias"], atol=1e-4)
    assert asked == [["attention_mask", "input_ids"]]


def test_every_variant_loads_and_answers_by_its_adapter(
    bundle: Bundle, tokenizer: TextTokenizer, adapters: list[LoadedAdapter]
) -> None:
    tokens = tokenizer.encode("the pump is leaking")
    (row,) = Engine(bundle, tokenizer, "int8", SINGLE).run([tokens], [adapters[4]])
    np.testing.assert_allclose(row, expected(tokens, 4, 3), atol=1e-4)


def test_a_merged_bundle_runs_behind_the_same_face(tmp_path: Path, adapters: list[LoadedAdapter]) -> None:
    merged = Bundle.open(make_bundle(tmp_path / "bundle"))
    tokenizer = TextTokenizer(merged)
    engine = MergedEngine(merged, tokenizer, settings=SINGLE)
    rows = engine.run([tokenizer.encode("the pump"), tokenizer.encode("fan")], [adapters[0]] * 2)
    assert [row.shape for row in rows] == [(3,), (3,)]
    assert engine.run([], []) == []
    with pytest.raises(InputError, match="is merged and has no adapters to swap"):
        Engine(merged, tokenizer)


def test_senseless_threads_are_a_usage_error(bundle: Bundle, tokenizer: TextTokenizer) -> None:
    with pytest.raises(UsageError, match="threads must be at least 1"):
        Engine(bundle, tokenizer, settings=Settings(0))


@pytest.mark.parametrize("kind", ["missing", "width", "type", "default"])
def test_a_backbone_whose_sigma_is_not_the_manifest_s_is_refused(tmp_path: Path, kind: str) -> None:
    path = make_swap_bundle(tmp_path / "bundle")
    model = onnx.load(str(path / "model.onnx"), load_external_data=False)
    (sigma,) = (entry for entry in model.graph.input if entry.name == "sigma")
    (default,) = (entry for entry in model.graph.initializer if entry.name == "sigma")
    if kind == "missing":
        model.graph.input.remove(sigma)
    if kind == "width":  # the graph takes any
        sigma.type.tensor_type.shape.dim[1].dim_param = "width"
    if kind == "default":
        model.graph.initializer.remove(default)
    if kind == "type":
        _as_double(model, sigma, default)
    (path / "model.onnx").write_bytes(model.SerializeToString())
    reseal(path)
    bundle = Bundle.open(path)
    with pytest.raises(InputError, match=r"model\.onnx: the graph (has no input 'sigma'|takes input_ids)") as caught:
        Engine(bundle, TextTokenizer(bundle))
    assert "\n" not in str(caught.value)


def _as_double(model: onnx.ModelProto, sigma: onnx.ValueInfoProto, default: onnx.TensorProto) -> None:
    """Feed `sigma` as float64 and cast it back inside."""
    values = onnx.numpy_helper.to_array(default).astype(np.float64)
    default.CopyFrom(onnx.numpy_helper.from_array(values, "sigma"))
    sigma.type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    for node in model.graph.node:
        node.input[:] = ["single" if name == "sigma" else name for name in node.input]
    model.graph.node.insert(0, onnx.helper.make_node("Cast", ["sigma"], ["single"], to=onnx.TensorProto.FLOAT))


def test_a_head_that_takes_other_weights_than_the_manifest_says_is_refused(tmp_path: Path) -> None:
    path = make_swap_bundle(tmp_path / "bundle")
    model = onnx.load(str(path / "head.onnx"))
    for entry in (*model.graph.input, *model.graph.initializer):
        entry.name = entry.name.replace("bias", "offset")
    for node in model.graph.node:
        node.input[:] = [name.replace("bias", "offset") for name in node.input]
    (path / "head.onnx").write_bytes(model.SerializeToString())
    reseal(path)
    bundle = Bundle.open(path)
    with pytest.raises(InputError, match=r"head\.onnx: the graph takes classifier\.offset.*says classifier\.bias"):
        Engine(bundle, TextTokenizer(bundle))


@pytest.mark.parametrize("change", ["width", "type"])
def test_a_head_whose_weights_are_of_another_form_is_refused(tmp_path: Path, change: str) -> None:
    path = make_swap_bundle(tmp_path / "bundle")
    model = onnx.load(str(path / "head.onnx"))
    (entry,) = (one for one in model.graph.input if one.name == "classifier.weight")
    if change == "width":
        entry.type.tensor_type.shape.dim[1].dim_param = "any"
    else:
        for part in (*model.graph.input, *model.graph.output):
            part.type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
        for tensor in model.graph.initializer:
            tensor.CopyFrom(
                onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor).astype(np.float64), tensor.name)
            )
    (path / "head.onnx").write_bytes(model.SerializeToString())
    reseal(path)
    bundle = Bundle.open(path)
    with pytest.raises(
        InputError, match=r"head\.onnx: classifier\.weight is tensor\(.*the manifest says tensor\(float\)"
    ):
        Engine(bundle, TextTokenizer(bundle))
