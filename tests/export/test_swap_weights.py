"""One file of weights for several graphs: aligned, readable as safetensors, the same bytes each time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from architecture_cases import CASES
from exported_bert import Exported
from hand_graphs import CLASSIFY, EMBED, build_many, hand_graph, mean, normal, product
from safetensors.numpy import load_file
from swap_models import Swappable

from export.swap.weights import ALIGN, point, write_weights

FILES = ("model.onnx", "fold.onnx", "head.onnx", "weights.safetensors")


@pytest.fixture(scope="module")
def swapped(bert: Exported, tmp_path_factory: pytest.TempPathFactory) -> Swappable:
    return Swappable.make(CASES[0], bert.model, onnx.load(bert.path), tmp_path_factory.mktemp("weights"))


def initializers(path: Path) -> dict[str, onnx.TensorProto]:
    return {str(entry.name): entry for entry in onnx.load(path, load_external_data=False).graph.initializer}


def test_every_tensor_is_what_the_graphs_hold(swapped: Swappable) -> None:
    weights = load_file(swapped.folder / "weights.safetensors")
    held: dict[str, np.ndarray] = {}
    for name in ("model.onnx", "fold.onnx"):
        held |= {str(t.name): onnx.numpy_helper.to_array(t) for t in onnx.load(swapped.folder / name).graph.initializer}
    own, start = held["svfit.own"], 0  # what is added to sigma: a factored layer's s, a bypass layer's zeros
    for layer in swapped.files.layers:
        part, start = own[0, start : start + len(layer.kept)], start + len(layer.kept)
        held |= {layer.base: part} if layer.form == "factored" else {}
        assert layer.form == "factored" or not part.any()
    for name, value in weights.items():
        np.testing.assert_array_equal(held[name], value, strict=True)


def test_a_weight_is_stored_once_and_not_where_its_factors_replace_it(swapped: Swappable) -> None:
    weights = load_file(swapped.folder / "weights.safetensors")
    backbone, fold = (initializers(swapped.folder / name) for name in ("model.onnx", "fold.onnx"))
    model = dict(swapped.model.named_modules())
    for layer in swapped.files.layers:
        assert layer.folded in fold
        assert fold[layer.folded].data_location == onnx.TensorProto.EXTERNAL
        if layer.form == "factored":
            assert layer.folded not in weights
            assert layer.folded not in backbone
            np.testing.assert_array_equal(weights[layer.base], swapped.plans[layer.name].s)
        else:
            assert layer.base == layer.folded
            stored = weights[layer.folded] if not layer.transposed else weights[layer.folded].T
            np.testing.assert_array_equal(stored, model[layer.name].weight.detach().numpy())
        if layer.kept:
            columns = weights[layer.down][:, layer.offset : layer.offset + len(layer.kept)]
            np.testing.assert_array_equal(columns, swapped.plans[layer.name].A)
            np.testing.assert_array_equal(weights[layer.up], swapped.plans[layer.name].B)
    size = sum(value.nbytes for value in weights.values())
    assert (swapped.folder / "weights.safetensors").stat().st_size < size + 8192
    assert swapped.files.bytes == sum((swapped.folder / name).stat().st_size for name in FILES)


def test_the_files_pass_onnx_s_checker_and_hold_no_weights_themselves(swapped: Swappable) -> None:
    for name in ("model.onnx", "fold.onnx", "head.onnx"):
        onnx.checker.check_model(str(swapped.folder / name))
    for name in ("model.onnx", "fold.onnx"):
        graph = onnx.load(swapped.folder / name, load_external_data=False).graph
        used = {entry for node in graph.node for entry in node.input}
        for tensor in graph.initializer:
            assert tensor.name in used
            assert len(tensor.raw_data) < 1024 or tensor.name == "sigma"


def test_the_same_arguments_give_the_same_bytes(swapped: Swappable, bert: Exported, tmp_path: Path) -> None:
    Swappable.make(CASES[0], bert.model, onnx.load(bert.path), tmp_path)
    for name in FILES:
        assert (tmp_path / name).read_bytes() == (swapped.folder / name).read_bytes(), name
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(FILES)


def test_another_process_with_other_hashes_gives_the_same_bytes(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    build_many(here)
    code = "import sys, hand_graphs; hand_graphs.build_many(hand_graphs.Path(sys.argv[1]))"
    path = os.pathsep.join(str(Path(__file__).parents[place] / name) for place, name in ((1, "helpers"), (2, "")))
    done = subprocess.run(
        [sys.executable, "-c", code, str(there)],
        env={"PYTHONHASHSEED": "7", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for name in FILES:
        assert (here / name).read_bytes() == (there / name).read_bytes(), name


def test_tensors_begin_at_cache_lines(tmp_path: Path) -> None:
    tensors = {"odd": normal(3), "b": normal(16, 4), "empty": normal(0, 4), "a": normal(32), "odd2": normal(5, 5)}
    places = write_weights(tmp_path / "w.safetensors", tensors)
    content = (tmp_path / "w.safetensors").read_bytes()
    for name, value in tensors.items():
        offset, length = places[name]
        assert content[offset : offset + length] == value.tobytes()
        assert (offset % ALIGN == 0) or name.startswith("odd")
    read = load_file(tmp_path / "w.safetensors")
    assert read.keys() == tensors.keys()
    for name, value in tensors.items():
        np.testing.assert_array_equal(read[name], value, strict=True)


def test_the_order_in_which_tensors_are_given_makes_no_difference(tmp_path: Path) -> None:
    tensors = {name: normal(8, 8, seed=place) for place, name in enumerate("abc")}
    write_weights(tmp_path / "one", tensors)
    write_weights(tmp_path / "two", dict(reversed(tensors.items())))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_pointed_tensors_are_read_from_the_file(tmp_path: Path) -> None:
    graph = hand_graph([EMBED, product("one", "x", "y"), mean("y"), CLASSIFY])
    values = {str(t.name): onnx.numpy_helper.to_array(t) for t in graph.graph.initializer}
    stored = {name: values[name] for name in ("one.weight.T", "embeddings")}
    point(graph, write_weights(tmp_path / "w.safetensors", stored), "w.safetensors")
    (tmp_path / "m.onnx").write_bytes(graph.SerializeToString())
    entries = initializers(tmp_path / "m.onnx")
    assert not entries["embeddings"].raw_data
    assert entries["classifier.weight"].raw_data
    for tensor in onnx.load(tmp_path / "m.onnx").graph.initializer:
        np.testing.assert_array_equal(onnx.numpy_helper.to_array(tensor), values[tensor.name], strict=True)
