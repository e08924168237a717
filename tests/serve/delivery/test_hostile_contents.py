"""What a bundle that is well sealed can still hold, and what stops it: its loading, or its first answer."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file, save_file
from tiny_bundle import LABELS, reseal, tiny_graph
from tiny_swap import make_swap_bundle

from export.variants.ort import write_ort
from serve.bundle import Bundle
from serve.errors import InputError
from serve.predictor import Predictor
from serve.runtime import Runtime
from serve.verify import verify

ADAPTER = "adapters/alpha/adapter.safetensors"


def changed_graph(path: Path, change: Any) -> None:
    model = onnx.load_from_string(path.read_bytes())
    change(model)
    path.write_bytes(model.SerializeToString())


def of_domain(domain: str, declared: bool = True) -> Any:
    def change(model: onnx.ModelProto) -> None:
        model.graph.node[0].domain, model.graph.node[0].op_type = domain, "Evil"
        if declared:
            model.opset_import.append(helper.make_opsetid(domain, 1))

    return change


def weights_at(**place: str) -> Any:
    """The first weight lies outside the graph, where `place` (location, offset, length) says."""

    def change(model: onnx.ModelProto) -> None:
        tensor = next(one for one in model.graph.initializer if one.data_type == TensorProto.FLOAT)
        tensor.ClearField("raw_data")
        tensor.ClearField("external_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in place.items():
            entry = tensor.external_data.add()
            entry.key, entry.value = key, value

    return change


@pytest.mark.parametrize("domain", ["evil.example", "com.microsoft", "ai.onnx.contrib", ""])
@pytest.mark.parametrize("name", ["model.onnx", "head.onnx"])
def test_an_operator_that_needs_a_library_of_its_own_is_refused_at_loading(
    tmp_path: Path, domain: str, name: str
) -> None:
    path = make_swap_bundle(tmp_path / "swap")
    changed_graph(path / name, of_domain(domain, declared=bool(domain)))
    reseal(path)
    with pytest.raises(InputError, match=rf"{name}: onnxruntime .* can't load it"):
        Predictor(path)


def test_a_library_that_lies_in_the_bundle_is_never_loaded(bundle_path: Path) -> None:
    (bundle_path / "libevil.so").write_bytes(b"\x7fELF")

    def change(model: onnx.ModelProto) -> None:
        of_domain("evil.example")(model)
        for key, value in (("custom_op_library", "libevil.so"), ("ort_config", '{"session_options": {}}')):
            entry = model.metadata_props.add()
            entry.key, entry.value = key, value

    changed_graph(bundle_path / "model.onnx", change)
    reseal(bundle_path)
    with pytest.raises(InputError, match="can't load it"):
        Predictor(bundle_path)


@pytest.mark.parametrize("location", ["../secret", "/etc/hostname", "adapters/../../secret", "state/secret"])
@pytest.mark.parametrize("name", ["model.onnx", "variants/int8/model.onnx", "head.onnx"])
def test_external_data_that_is_not_among_the_files_is_never_read(tmp_path: Path, location: str, name: str) -> None:
    path = make_swap_bundle(tmp_path / "swap")
    (tmp_path / "secret").write_bytes(bytes(4096))

    changed_graph(path / name, weights_at(location=location))
    reseal(path)
    with pytest.raises(InputError, match="can't load it"):
        Predictor(path, variant="int8" if "int8" in name else "fp32")


@pytest.mark.parametrize("name", ["model.onnx", "head.onnx"])
def test_weights_that_point_into_the_servers_memory_are_refused_at_loading(tmp_path: Path, name: str) -> None:
    # onnxruntime before 1.24 may answer from any address of its memory (pyproject.toml asks for 1.24)
    path = make_swap_bundle(tmp_path / "swap")
    secret = np.arange(4096, dtype=np.float32)
    changed_graph(path / name, weights_at(location="*/_ORT_MEM_ADDR_/*", offset=str(secret.ctypes.data)))
    reseal(path)
    with pytest.raises(InputError, match="can't load it"):
        Predictor(path)


@pytest.mark.parametrize("kind", ["cut", "not one", "empty", "another's name"])
def test_a_graph_in_onnxruntimes_format_that_is_none_is_refused_at_loading(bundle_path: Path, kind: str) -> None:
    path = bundle_path / "variants" / "int8" / "model.ort"
    write_ort(path.with_name("model.onnx"), path)
    whole = path.read_bytes()
    damaged = {
        "cut": whole[: len(whole) // 2],
        "not one": b"ORTM".join((whole[:4], bytes(1024))),
        "empty": b"",
        "another's name": path.with_name("model.onnx").read_bytes(),
    }
    variants = json.loads((bundle_path / "manifest.json").read_text())["variants"]
    variants[1]["file"] = "variants/int8/model.ort"
    reseal(bundle_path, variants=variants)
    Predictor(bundle_path, variant="int8")
    path.write_bytes(damaged[kind])
    reseal(bundle_path)
    with pytest.raises(InputError, match=r"model\.ort: .*(can't load it|empty)"):
        Predictor(bundle_path, variant="int8")


def test_a_compiled_part_that_names_a_file_elsewhere_is_refused_at_loading(bundle_path: Path) -> None:
    def change(model: onnx.ModelProto) -> None:
        node = helper.make_node(
            "EPContext", [], ["logits"], domain="com.microsoft", embed_mode=0, ep_cache_context="../../secret"
        )
        del model.graph.node[:]
        model.graph.node.append(node)
        model.opset_import.append(helper.make_opsetid("com.microsoft", 1))

    changed_graph(bundle_path / "model.onnx", change)
    reseal(bundle_path)
    with pytest.raises(InputError, match="can't load it"):
        Predictor(bundle_path)


@pytest.mark.parametrize("name", ["adapters/pipe", "manifest.json", "model.onnx", "signature.json"])
def test_a_pipe_in_a_bundles_folder_is_refused_and_nobody_waits_for_it(bundle_path: Path, name: str) -> None:
    (bundle_path / name).unlink(missing_ok=True)
    os.mkfifo(bundle_path / name)
    with pytest.raises(InputError, match=rf"{name}.*(special file|not a plain file)"):
        Bundle.open(bundle_path)


@pytest.mark.parametrize(("offset", "length"), [(2**40, 64), (0, 2**40), (-64, 64)])
def test_external_data_beyond_its_file_is_refused_at_loading(tmp_path: Path, offset: int, length: int) -> None:
    path = make_swap_bundle(tmp_path / "swap")

    def change(model: onnx.ModelProto) -> None:
        tensor = next(one for one in model.graph.initializer if one.data_location == TensorProto.EXTERNAL)
        for entry in tensor.external_data:
            if entry.key in ("offset", "length"):
                entry.value = str(offset if entry.key == "offset" else length)

    changed_graph(path / "model.onnx", change)
    reseal(path)
    with pytest.raises(InputError, match="can't load it"):
        Predictor(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("key", ["delta.first", "module.classifier.bias"])
def test_a_value_that_is_no_number_in_an_adapter_is_refused_where_it_is_read(
    tmp_path: Path, value: float, key: str
) -> None:
    path = make_swap_bundle(tmp_path / "swap")
    tensors = load_file(path / ADAPTER)
    tensors[key][0] = value
    save_file(tensors, path / ADAPTER)
    reseal(path)
    for act in (Runtime, Predictor, verify):
        with pytest.raises(InputError, match=rf"alpha.*{key}' holds NaN or infinities"):
            act(path)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"delta.first": np.zeros(17, np.float32)}, "first has shape"),
        ({"delta.first": np.zeros((4, 4), np.float32)}, "first has shape"),
        ({"module.classifier.bias": np.zeros(5, np.float32)}, "no head of this bundle takes"),
        ({"delta.third": np.zeros(16, np.float32)}, "third"),
        ({"delta.first": np.zeros(16, np.float64)}, "float32"),
        ({"weights.first": np.zeros(16, np.float32)}, "unknown tensor"),
    ],
)
def test_values_of_a_wrong_shape_in_an_adapter_are_refused_where_they_are_read(
    tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    path = make_swap_bundle(tmp_path / "swap")
    save_file({**load_file(path / ADAPTER), **change}, path / ADAPTER)
    reseal(path)
    with pytest.raises(InputError, match=told):
        verify(path)


def poison(model: onnx.ModelProto) -> None:
    (tensor,) = (one for one in model.graph.initializer if one.name == "matrix")
    values = numpy_helper.to_array(tensor).copy()
    values[0, 0] = np.nan
    tensor.CopyFrom(numpy_helper.from_array(values, "matrix"))


def test_a_value_that_is_no_number_in_a_graph_is_refused_at_the_first_answer_it_reaches(bundle_path: Path) -> None:
    changed_graph(bundle_path / "model.onnx", poison)
    reseal(bundle_path)
    with pytest.raises(InputError, match="logits holds NaN or infinities"):
        verify(bundle_path)
    with pytest.raises(InputError, match="logits holds NaN or infinities"):
        Predictor(bundle_path).predict(["the pump"])


def test_a_graph_that_answers_in_another_width_than_it_is_listed_with_is_refused(bundle_path: Path) -> None:
    (bundle_path / "model.onnx").write_bytes(tiny_graph(len(LABELS) + 1))
    reseal(bundle_path)
    with pytest.raises(InputError, match="has shape"):
        verify(bundle_path)


def test_a_graph_that_wants_other_inputs_is_refused_at_loading(bundle_path: Path) -> None:
    def change(model: onnx.ModelProto) -> None:
        model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))

    changed_graph(bundle_path / "model.onnx", change)
    reseal(bundle_path)
    with pytest.raises(InputError, match=r"the graph takes .*more"):
        Predictor(bundle_path)


@pytest.mark.parametrize("data", [b"", b"\x08", b"ORTM" + bytes(60), bytes(5000)])
def test_a_graph_that_is_none_is_refused_at_loading(bundle_path: Path, data: bytes) -> None:
    (bundle_path / "model.onnx").write_bytes(data)
    reseal(bundle_path)
    with pytest.raises(InputError, match="can't load it"):
        Predictor(bundle_path)
