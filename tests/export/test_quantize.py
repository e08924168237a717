from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from exported_bert import Exported
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from export import int8 as int8_module
from export.int8 import layers, write_int8
from export.quantize import quantize_int8
from export.sensitivity import rank_layers
from serve.errors import InputError

WIDTH, VOCABULARY = 16, 64


def fragile(path: Path) -> Path:
    """Embeddings, their mean, three products. In `body.fragile` one huge row meets an input that is always 0.

    In float32 the row does nothing; in int8 it takes the whole range, and every other weight becomes 0.
    """
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(VOCABULARY, WIDTH))
    embeddings[:, 0] = 0
    outlier = rng.normal(size=(WIDTH, WIDTH))
    outlier[0] = 1e4
    weights = {
        "embeddings": embeddings,
        "fragile": outlier,
        "sturdy": rng.normal(size=(WIDTH, WIDTH)),
        "head": rng.normal(size=(WIDTH, 4)),
    }
    tensors = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    tensors.append(numpy_helper.from_array(np.array([1]), "sequence"))
    nodes = [
        helper.make_node("Gather", ["embeddings", "input_ids"], ["vectors"], name="body.embeddings"),
        helper.make_node("ReduceMean", ["vectors", "sequence"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "fragile"], ["one"], name="body.fragile"),
        helper.make_node("MatMul", ["one", "sturdy"], ["two"], name="body.sturdy"),
        helper.make_node("MatMul", ["two", "head"], ["logits"], name="head"),
    ]
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "sequence"])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 4])
    graph = helper.make_graph(nodes, "fragile", [ids], [logits], tensors)
    path.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9).SerializeToString()
    )
    return path


BATCHES = [{"input_ids": np.random.default_rng(place).integers(0, VOCABULARY, size=(32, 6))} for place in range(4)]


def labels(path: Path) -> NDArray[np.int64]:
    session = onnxruntime.InferenceSession(str(path))
    return np.concatenate([session.run(None, feeds)[0].argmax(1) for feeds in BATCHES])


def agreement(fp32: Path) -> Callable[[Path], float]:
    wanted = labels(fp32)
    return lambda path: float((labels(path) == wanted).mean())


@pytest.fixture
def fp32(tmp_path: Path) -> Path:
    return fragile(tmp_path / "model.onnx")


def test_the_layer_that_int8_breaks_is_found_and_kept_in_fp32(fp32: Path, tmp_path: Path) -> None:
    score = agreement(fp32)
    write_int8(onnx.load(fp32), tmp_path / "all.onnx")
    assert score(tmp_path / "all.onnx") < 0.8
    told: list[tuple[str, int, int]] = []
    result = quantize_int8(
        fp32, tmp_path / "int8.onnx", score, 1.0, BATCHES, max_drop=5.0, on_progress=lambda *step: told.append(step)
    )
    assert result.kept_fp32 == ["body.fragile"]
    assert result.held and result.drop <= 5.0 and result.tried == 2
    assert score(tmp_path / "int8.onnx") == result.score
    assert result.bytes == (tmp_path / "int8.onnx").stat().st_size
    assert "body.fragile" in [step[0] for step in told]


def test_ranking_puts_the_fragile_layer_first(fp32: Path) -> None:
    ranked = rank_layers(onnx.load(fp32), BATCHES)
    assert ranked[0].name == "body.fragile"
    assert sorted(layer.name for layer in ranked) == ["body.embeddings", "body.fragile", "body.sturdy", "head"]
    assert ranked[0].error > 5 * ranked[1].error > 0


def test_layers_are_ranked_where_each_token_has_an_output_and_batches_differ_in_length(fp32: Path) -> None:
    model = onnx.load(fp32)
    mean = next(node for node in model.graph.node if node.op_type == "ReduceMean")
    mean.CopyFrom(helper.make_node("Identity", ["vectors"], ["mean"]))
    model.graph.input.append(helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["batch", "sequence"]))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["b", "s", 4]))
    batches = []
    for size in (6, 9):
        ids = np.random.default_rng(size).integers(0, VOCABULARY, size=(8, size))
        batches.append({"input_ids": ids, "attention_mask": (np.arange(size) < size - 2).astype(np.int64) * (ids >= 0)})
    ranked = rank_layers(model, batches)
    assert ranked[0].name == "body.fragile" and len(ranked) == 4
    assert all(layer.error > 0 for layer in ranked)


def test_a_graph_that_holds_at_once_keeps_nothing_and_ranks_nothing(fp32: Path, tmp_path: Path) -> None:
    result = quantize_int8(fp32, tmp_path / "int8.onnx", lambda _: 0.895, 0.9, [], max_drop=0.5)
    assert (result.kept_fp32, result.held, result.tried) == ([], True, 1)
    assert result.drop == pytest.approx(0.5)


def test_where_nothing_holds_the_best_attempt_stays_and_says_so(fp32: Path, tmp_path: Path) -> None:
    scores = iter([0.5, 0.7, 0.6])
    out = tmp_path / "int8.onnx"
    result = quantize_int8(fp32, out, lambda _: next(scores), 0.9, BATCHES)
    assert (result.held, result.tried, result.score) == (False, 3, 0.7)
    assert result.kept_fp32 == ["body.fragile"]
    assert agreement(fp32)(out) > 0.9  # the file is that attempt's
    assert sorted(file.name for file in tmp_path.iterdir()) == ["int8.onnx", "model.onnx"]


def test_a_score_of_nan_never_holds(fp32: Path, tmp_path: Path) -> None:
    result = quantize_int8(fp32, tmp_path / "int8.onnx", lambda _: float("nan"), 0.9, BATCHES)
    assert not result.held
    with pytest.raises(InputError, match="finite baseline"):
        quantize_int8(fp32, tmp_path / "int8.onnx", lambda _: 0.9, float("nan"), BATCHES)


def test_weights_are_int8_in_seven_bits_and_kept_layers_float32(bert: Exported, tmp_path: Path) -> None:
    model = onnx.load(bert.path)
    names = layers(model)
    assert {"classifier", "bert.pooler.dense", "bert.embeddings.word_embeddings"} <= set(names)
    write_int8(model, tmp_path / "int8.onnx", keep=["classifier", "bert.encoder.layer.0.attention.self.query"])
    graph = onnx.load(tmp_path / "int8.onnx").graph
    stored = {entry.name: numpy_helper.to_array(entry) for entry in graph.initializer}
    int8 = {name: value for name, value in stored.items() if value.dtype == np.int8 and value.ndim == 2}
    assert len(int8) == len([name for name in names if "embeddings" not in name]) - 2
    assert all(np.abs(value.astype(int)).max() <= 64 for value in int8.values())
    assert not any("classifier" in name or "layer.0.attention.self.query" in name for name in int8)
    assert any("pooler.dense" in name for name in int8)  # a Gemm in the fp32 graph
    assert stored["bert.encoder.layer.0.attention.self.query.weight.T"].dtype == np.float32


def test_int8_keeps_the_metadata_and_gives_the_same_bytes_again(bert: Exported, tmp_path: Path) -> None:
    for name in ("one.onnx", "two.onnx"):
        write_int8(onnx.load(bert.path), tmp_path / name)
    assert (tmp_path / "one.onnx").read_bytes() == (tmp_path / "two.onnx").read_bytes()
    properties = {entry.key: entry.value for entry in onnx.load(tmp_path / "one.onnx").metadata_props}
    assert json.loads(properties["labels"]) == ["a", "b", "c"]


def test_a_graph_with_nothing_to_quantize_is_refused(fp32: Path, tmp_path: Path) -> None:
    model = onnx.load(fp32)
    with pytest.raises(InputError, match="no layer is left"):
        write_int8(model, tmp_path / "int8.onnx", keep=layers(model))


def test_a_graph_larger_than_a_file_can_hold_is_refused(
    fp32: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(int8_module, "EMBED_LIMIT", 100)
    with pytest.raises(InputError, match="GB of weights"):
        write_int8(onnx.load(fp32), tmp_path / "int8.onnx")
