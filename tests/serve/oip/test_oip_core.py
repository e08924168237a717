"""The Open Inference Protocol's core, on a service that answers from a table."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from oip_desk import FOLDER, Desk

from serve.errors import Conflict, InputError, NotFound, SvfitError
from serve.oip.infer import InferRequest, InferResponse, infer
from serve.oip.models import is_ready, model_metadata, server_metadata
from serve.oip.repository import index, load, unload
from serve.oip.tensors import TextTensor
from serve.service import Service


def text(*values: str, shape: tuple[int, ...] | None = None, name: str = "text") -> TextTensor:
    return TextTensor(name, shape or (len(values),), values)


def ask(
    desk: Desk, model: str = "site", *tensors: TextTensor, deadline: float | None = None, **rest: Any
) -> InferResponse:
    request = InferRequest(model=model, inputs=tensors or (text("a", "b"),), **rest)
    return asyncio.run(infer(cast(Service, desk), request, deadline))


def outputs(response: InferResponse) -> dict[str, Any]:
    return {tensor.name: tensor.plain() for tensor in response.outputs}


def test_the_bundles_model_gives_all_outputs_of_the_default_adapter_and_echoes_the_id() -> None:
    desk = Desk()
    response = ask(desk, id="7")
    assert (response.model, response.version, response.id) == ("site", "1", "7")
    assert outputs(response) == {
        "label": ["yes", "yes"],
        "score": [0.5, 0.5],
        "probabilities": [0.5, 0.25, 0.5, 0.25],
        "adapter": ["alpha@2", "alpha@2"],
    }
    assert {tensor.name: tensor.shape for tensor in response.outputs}["probabilities"] == (2, 2)
    assert desk.asked == [(["a", "b"], [None, None], None)]


def test_a_parameter_names_the_adapter_of_all_rows() -> None:
    desk = Desk()
    assert outputs(ask(desk, parameters={"adapter": "beta@1"}))["adapter"] == ["beta@1", "beta@1"]


def test_an_input_names_the_adapter_of_each_row_and_the_empty_one_is_the_default() -> None:
    desk = Desk()
    response = ask(desk, "site", text("a", "b"), text("delta", "", name="adapter"))
    assert desk.asked == [(["a", "b"], ["delta", None], None)]
    assert outputs(response)["probabilities"] == [0.5, 0.25, 0.5, 0.25]  # other adapters, the same labels


def test_probabilities_are_left_out_where_labels_differ_and_refused_where_they_were_asked_for() -> None:
    mixed = (text("a", "b"), text("alpha", "beta", name="adapter"))
    assert list(outputs(ask(Desk(), "site", *mixed))) == ["label", "score", "adapter"]
    with pytest.raises(InputError, match=r'"probabilities": alpha@2 and beta@2 have other labels; leave it out'):
        ask(Desk(), "site", *mixed, outputs=("probabilities",))


def test_a_regression_gives_values_and_no_labels() -> None:
    assert outputs(ask(Desk(), "gamma")) == {"score": [2.5, 2.5], "value": [2.5, 2.5], "adapter": ["gamma@2"] * 2}
    with pytest.raises(InputError, match='"label": gamma@2 gives a value, no label'):
        ask(Desk(), "gamma", outputs=("label",))
    with pytest.raises(InputError, match='"value": alpha@2 gives labels, no value'):
        ask(Desk(), "alpha", outputs=("value",))


def test_a_batch_of_both_tasks_has_only_what_both_give() -> None:
    response = ask(Desk(), "site", text("a", "b"), text("alpha", "gamma", name="adapter"))
    assert list(outputs(response)) == ["score", "adapter"]


def test_requested_outputs_come_alone_and_in_their_order() -> None:
    response = ask(Desk(), "beta", outputs=("adapter", "labels", "label"))
    assert list(outputs(response)) == ["adapter", "labels", "label"]
    assert outputs(response)["labels"] == ["red", "green", "blue"]


def test_an_adapters_model_answers_with_the_version_asked_for_or_its_default() -> None:
    assert ask(Desk(), "beta").version == "2"
    desk = Desk()
    assert ask(desk, "beta", version="1").version == "1"
    assert desk.asked[0][1] == ["beta@1", "beta@1"]


def test_where_names_clash_the_bundles_model_answers() -> None:
    assert outputs(ask(Desk(), "site"))["adapter"] == ["alpha@2", "alpha@2"]


def test_rows_may_be_a_column_or_pairs() -> None:
    desk = Desk()
    ask(desk, "site", text("a", "b", shape=(2, 1)))
    ask(desk, "site", text("a", "b", "c", "d", shape=(2, 2)))
    assert [rows for rows, _, _ in desk.asked] == [["a", "b"], [("a", "b"), ("c", "d")]]


def test_the_sooner_of_both_deadlines_counts() -> None:
    desk = Desk()
    ask(desk, deadline=5.0, parameters={"timeout": 250_000})
    ask(desk, deadline=0.1, parameters={"timeout": 250_000})
    ask(desk, parameters={"timeout": 250_000})
    assert [seconds for _, _, seconds in desk.asked] == [0.25, 0.1, 0.25]


@pytest.mark.parametrize(
    ("request_of", "message"),
    [
        ({"tensors": (text("a", name="texts"),)}, 'input "texts": not known; model "site" takes: text, adapter'),
        ({"tensors": (text("x", name="adapter"),)}, 'need a BYTES tensor "text"'),
        ({"tensors": (text("a"), text("b"))}, "one is given twice"),
        ({"tensors": (text("a", "b", "c", shape=(1, 3)),)}, r"shape must be \[n\]"),
        ({"tensors": (text("a"), text("x", "y", name="adapter"))}, "2 elements for 1 rows"),
        ({"tensors": (text("a"), text("x", name="adapter")), "parameters": {"adapter": "x"}}, "give one of them"),
        ({"parameters": {"adapter": ["alpha"]}}, 'parameter "adapter": must be text'),
        ({"parameters": {"adaptor": "alpha"}}, 'parameter "adaptor": not known; available: adapter, timeout'),
        ({"parameters": {"timeout": True}}, "whole number of microseconds"),
        ({"outputs": ("logits",)}, 'output "logits": not known; available: label'),
        ({"outputs": ("label", "label")}, "asked for twice"),
        ({"model": "beta", "parameters": {"adapter": "alpha"}}, 'model "beta" is an adapter'),
        ({"model": "beta", "tensors": (text("a"), text("x", name="adapter"))}, 'model "beta" takes: text$'),
    ],
)
def test_requests_that_make_no_sense_are_refused(request_of: dict[str, Any], message: str) -> None:
    given = dict(request_of)
    with pytest.raises(InputError, match=message):
        ask(Desk(), given.pop("model", "site"), *given.pop("tensors", ()), **given)


@pytest.mark.parametrize(
    ("model", "version"),
    [("nothing", ""), ("beta", "3"), ("beta", "latest"), ("beta", "9" * 5000), ("site", "2"), ("beta@1", ""), ("", "")],
)
def test_models_and_versions_that_are_not_there(model: str, version: str) -> None:
    with pytest.raises(NotFound):
        ask(Desk(), model, version=version)
    with pytest.raises(NotFound):
        asyncio.run(is_ready(cast(Service, Desk()), model, version))
    with pytest.raises(NotFound):
        asyncio.run(model_metadata(cast(Service, Desk()), model, version))


def shapes(desk: Desk, name: str) -> dict[str, tuple[str, list[int]]]:
    info = asyncio.run(model_metadata(cast(Service, desk), name))
    return {tensor.name: (tensor.datatype, tensor.shape) for tensor in (*info.inputs, *info.outputs)}


def test_metadata_says_what_each_model_takes_and_gives() -> None:
    assert shapes(Desk(), "beta") == {
        "text": ("BYTES", [-1]),
        "label": ("BYTES", [-1]),
        "score": ("FP32", [-1]),
        "probabilities": ("FP32", [-1, 3]),
        "adapter": ("BYTES", [-1]),
        "labels": ("BYTES", [3]),
    }
    assert list(shapes(Desk(), "gamma")) == ["text", "value", "score", "adapter"]
    assert shapes(Desk(), "delta")["text"] == ("BYTES", [-1, 2])
    bundle = asyncio.run(model_metadata(cast(Service, Desk()), "site"))
    assert (bundle.versions, [tensor.name for tensor in bundle.inputs]) == (["1"], ["text", "adapter"])
    assert {"label", "value", "probabilities"} <= {tensor.name for tensor in bundle.outputs}
    assert asyncio.run(model_metadata(cast(Service, Desk()), "beta")).versions == ["1", "2"]
    assert {"binary_tensor_data", "model_repository"} <= set(server_metadata().extensions)


def test_a_model_is_not_ready_while_the_server_drains() -> None:
    desk = Desk()
    assert asyncio.run(is_ready(cast(Service, desk), "beta", "1"))
    desk.state = "draining"
    assert not asyncio.run(is_ready(cast(Service, desk), "beta", "1"))


def test_the_index_lists_every_version_and_a_clashing_name_once() -> None:
    entries = asyncio.run(index(cast(Service, Desk())))
    assert [(entry.name, entry.version) for entry in entries if entry.name in ("site", "beta")] == [
        ("site", "1"),
        ("beta", "1"),
        ("beta", "2"),
    ]


def change(desk: Desk, name: str, **parameters: Any) -> list[Any]:
    short = {"document": "file:adapter.json", "tensors": "file:adapter.safetensors"}
    named = {short.get(key, key): value for key, value in parameters.items()}
    asyncio.run(load(cast(Service, desk), name, named))
    return desk.changes


def test_load_adds_files_leaves_what_is_there_and_brings_back_what_is_sealed() -> None:
    assert change(Desk(), "new", document=b"{}", tensors=b"x", config="{}") == [((b"{}", b"x"), "new")]
    assert change(Desk(), "beta") == []
    assert change(Desk(), "site") == []
    assert change(Desk(), "away") == [(FOLDER / "adapters" / "away", "away")]


@pytest.mark.parametrize(
    ("name", "parameters", "kind", "message"),
    [
        ("nothing", {}, NotFound, "load it with file:adapter.json and file:adapter.safetensors"),
        ("new", {"document": b"{}"}, InputError, "must hold both"),
        ("new", {"document": "{}", "tensors": b""}, InputError, "must hold both"),
        ("new", {"file:model.onnx": b""}, InputError, "not known; available: config, file:adapter.json"),
        ("new", {"config": '{"max_batch_size": 4}'}, InputError, "must be empty"),
        ("new", {"config": 4}, InputError, "must be empty"),
        ("site", {"document": b"{}", "tensors": b""}, Conflict, "under another name"),
        ("a@1", {"document": b"{}", "tensors": b""}, NotFound, "a version goes apart"),
    ],
)
def test_loads_that_are_refused(name: str, parameters: dict[str, Any], kind: type[SvfitError], message: str) -> None:
    desk = Desk()
    with pytest.raises(kind, match=message):
        change(desk, name, **parameters)
    assert desk.changes == []


def test_unload_removes_an_adapter_but_never_the_bundles_model() -> None:
    desk = Desk()
    asyncio.run(unload(cast(Service, desk), "beta"))
    assert "beta" not in desk.names
    with pytest.raises(NotFound):
        asyncio.run(unload(cast(Service, desk), "beta"))
    with pytest.raises(Conflict, match="is the bundle's and stays"):
        asyncio.run(unload(cast(Service, desk), "site"))
