"""Variants of a tiny BERT: what each holds, and the rules that choose among them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from exported_bert import Exported
from numpy.typing import NDArray

from export.int8 import layers, write_int8
from export.variants.fp16 import write_fp16
from export.variants.fused import fused_nodes, write_fused
from export.variants.kinds import KINDS, kind, load
from export.variants.make import Gate, convert, reform
from export.variants.memory import memory
from export.variants.ort import OPERATORS, write_ort
from export.variants.rank import best, front, ranked
from export.variants.static import static_layers, static_writer
from export.variants.targets import remarks
from export.variants.weight_only import write_w4, write_w8
from serve.errors import InputError, UsageError

KEPT = "bert.encoder.layer.0.attention.self.query"


def answers(path: Path, bert: Exported) -> NDArray[np.float32]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, batch.feeds)[0] for batch in bert.batches])


def difference(one: Path, other: Path, bert: Exported) -> float:
    return float(np.abs(answers(one, bert) - answers(other, bert)).max())


def operators(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(path).graph.node)


def feeds(bert: Exported) -> list[dict[str, NDArray[np.int64]]]:
    return [batch.feeds for batch in bert.batches]


def gate(bert: Exported, score: float = 0.9) -> Gate:
    return Gate(lambda _: score, 0.9, 0.5, lambda one, other: difference(one, other, bert))


@pytest.mark.parametrize(("name", "most"), [("int8", 0.2), ("w8", 0.2), ("w4", 1.0), ("fp16", 0.02)])
def test_a_variant_answers_close_to_fp32_the_same_bytes_again_and_smaller(
    bert: Exported, tmp_path: Path, name: str, most: float
) -> None:
    model = onnx.load(bert.path)
    write = load(KINDS[name].writer)
    size = write(model, tmp_path / "one.onnx")
    write(model, tmp_path / "two.onnx")
    assert size == (tmp_path / "one.onnx").stat().st_size < bert.path.stat().st_size
    assert (tmp_path / "one.onnx").read_bytes() == (tmp_path / "two.onnx").read_bytes()
    assert 0 < difference(bert.path, tmp_path / "one.onnx", bert) < most
    assert model.SerializeToString() == onnx.load(bert.path).SerializeToString()  # the writer left it alone


@pytest.mark.parametrize("write", [write_w8, write_w4])
def test_weight_only_makes_products_by_blocks_and_tables_8_bits(bert: Exported, tmp_path: Path, write: Any) -> None:
    model = onnx.load(bert.path)
    write(model, tmp_path / "model.onnx", [KEPT])
    found = operators(tmp_path / "model.onnx")
    tables = [name for name in layers(model) if "embeddings" in name]
    assert found["MatMulNBits"] == len(layers(model)) - len(tables) - 1
    graph = onnx.load(tmp_path / "model.onnx").graph
    stored = {entry.name: entry.data_type for entry in graph.initializer if "embeddings" in entry.name}
    assert onnx.TensorProto.UINT8 in stored.values()
    assert KEPT in [node.name for node in graph.node if node.op_type == "MatMul"]


def test_weight_only_of_a_graph_without_products_is_refused(bert: Exported, tmp_path: Path) -> None:
    model = onnx.load(bert.path)
    with pytest.raises(InputError, match="w4: no product is left"):
        write_w4(model, tmp_path / "model.onnx", layers(model))


def test_fp16_keeps_its_inputs_and_outputs_and_the_layers_named(bert: Exported, tmp_path: Path) -> None:
    write_fp16(onnx.load(bert.path), tmp_path / "model.onnx", [KEPT])
    graph = onnx.load(tmp_path / "model.onnx").graph
    assert graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    wide = [entry.name for entry in graph.initializer if entry.data_type == onnx.TensorProto.FLOAT]
    assert any(KEPT in name for name in wide)
    assert not any("layer.1.attention.self.query.weight" in name for name in wide)


def test_static_int8_measures_no_range_when_it_answers(bert: Exported, tmp_path: Path) -> None:
    model = onnx.load(bert.path)
    write = static_writer(model, feeds(bert))
    write(model, tmp_path / "static.onnx", [])
    write_int8(model, tmp_path / "dynamic.onnx")
    found = operators(tmp_path / "static.onnx")
    assert operators(tmp_path / "dynamic.onnx")["DynamicQuantizeLinear"] > 0
    assert found["DynamicQuantizeLinear"] == 0 < found["QuantizeLinear"]
    assert 0 < difference(bert.path, tmp_path / "static.onnx", bert) < 0.3
    write(model, tmp_path / "kept.onnx", [KEPT])
    assert operators(tmp_path / "kept.onnx")["DequantizeLinear"] < found["DequantizeLinear"]
    assert set(layers(model)) == set(static_layers(model))


def test_static_int8_without_rows_is_refused(bert: Exported) -> None:
    with pytest.raises(InputError, match="rows to calibrate on"):
        static_writer(onnx.load(bert.path), [])


def test_fused_graphs_answer_as_what_they_are_made_of(bert: Exported, tmp_path: Path) -> None:
    write_int8(onnx.load(bert.path), tmp_path / "int8.onnx")
    for source, limit in ((bert.path, 1e-5), (tmp_path / "int8.onnx", 0.05)):
        out = tmp_path / "fused" / source.name
        assert write_fused(source, out) == out.stat().st_size
        assert sum(fused_nodes(out).values()) > 0
        assert difference(source, out, bert) < limit
    with pytest.raises(InputError, match="nothing in it to fuse"):
        write_fused(tmp_path / "fused" / bert.path.name, tmp_path / "again.onnx")


def test_onnxruntimes_format_has_its_operators_beside_it(bert: Exported, tmp_path: Path) -> None:
    out = tmp_path / "model.ort"
    assert write_ort(bert.path, out) == out.stat().st_size
    assert difference(bert.path, out, bert) < 1e-5
    listed = (tmp_path / OPERATORS).read_text()
    assert "ai.onnx;" in listed and "MatMul" in listed
    assert str(tmp_path) not in listed and "#" not in listed


def test_memory_is_that_of_a_process_of_its_own(bert: Exported) -> None:
    found = memory(bert.path, feeds(bert)[0])
    assert 0 < found["before_bytes"] <= found["loaded_bytes"] <= found["peak_bytes"] < 400e6
    with pytest.raises(InputError, match="memory can't be measured"):
        memory(bert.path.with_name("nowhere.onnx"))


def test_a_variant_that_loses_too_much_says_what_it_lost(bert: Exported, tmp_path: Path) -> None:
    model = onnx.load(bert.path)
    held = convert(KINDS["int8"], bert.path, model, tmp_path / "int8.onnx", gate(bert), feeds(bert), list)
    assert (held["held"], held["why"], held["kept_fp32"]) == (True, "", [])
    form = reform(KINDS["int8-fused"], held, tmp_path / "int8.onnx", tmp_path / "f.onnx", gate(bert, 0.8), 1.0)
    assert (form["held"], form["why"]) == (False, "loses 10.00 points, 0.5 allowed")
    moved = reform(KINDS["int8-fused"], held, tmp_path / "int8.onnx", tmp_path / "f.onnx", gate(bert), -1.0)
    assert not moved["held"] and "differs from int8" in moved["why"]


def row(name: str, ms: float, size: float, score: float = 0.9, held: bool = True, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "held": held,
        "bytes": size,
        "latency": {"p50_ms": ms},
        "memory": {"peak_bytes": size},
        "metrics": {"validation": {"accuracy": score}},
        **more,
    }


ROWS = [
    row("fp32", 10.0, 100.0, 0.91),
    row("int8", 5.0, 25.0),
    row("w4", 8.0, 18.0, 0.89),
    row("w8", 11.0, 26.0),
    row("int8-static", 1.0, 10.0, 0.7, held=False),
    row("ort", 4.0, 24.0, of="default"),
    {"name": "fp16", "held": False, "why": "can't"},
]


def test_the_best_is_the_least_time_and_size_of_those_that_held() -> None:
    assert best(ROWS) == "int8"
    assert best([ROWS[0], ROWS[4]]) == "fp32"
    assert [one["name"] for one in ranked(ROWS)] == ["ort", "int8", "w4", "w8", "fp32", "int8-static", "fp16"]


def test_untimed_variants_are_chosen_by_size_and_the_one_listed_first() -> None:
    bare = [{key: value for key, value in one.items() if key != "latency"} for one in ROWS[:2]]
    assert best(bare) == "int8"
    assert front(bare, "accuracy") == []


def test_the_front_leaves_out_what_another_beats_in_everything() -> None:
    assert front(ROWS, "accuracy") == ["fp32", "w4", "ort"]


def test_what_a_target_lacks_is_said() -> None:
    assert any("x86" in told for told in remarks(KINDS["fp16"], ["avx2"]))
    assert any("dot product" in told for told in remarks(KINDS["int8"], ["avx512_vnni"]))
    assert len(remarks(KINDS["int8"], ["avx2"])) == 1 + len(remarks(KINDS["int8"], ["avx512_vnni"]))
    assert remarks(KINDS["fp32"], []) == []


def test_an_unknown_variant_is_refused_with_those_there_are() -> None:
    with pytest.raises(UsageError, match="no variant 'int2'; there are: fp32, int8, int8-static"):
        kind("int2")
