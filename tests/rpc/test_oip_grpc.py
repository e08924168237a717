"""The gRPC service's calls over a real channel."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from grpc_calls import one, outputs, question, refusal
from oip_desk import TASKS, Desk

from serve.errors import BusyError, DeadlineError, TooLarge
from serve.rpc import inference_pb2 as pb


def test_live_and_ready_tell_the_truth_through_a_drain() -> None:
    desk = Desk()
    assert one(desk, "ServerReady", pb.ServerReadyRequest()).ready
    assert one(desk, "ModelReady", pb.ModelReadyRequest(name="beta", version="1")).ready
    assert not one(desk, "ModelReady", pb.ModelReadyRequest(name="nothing")).ready
    desk.state = "draining"
    assert one(desk, "ServerLive", pb.ServerLiveRequest()).live
    assert not one(desk, "ServerReady", pb.ServerReadyRequest()).ready
    assert not one(desk, "ModelReady", pb.ModelReadyRequest(name="beta")).ready
    assert refusal(desk, "ModelInfer", question("a"))[0] == "UNAVAILABLE"


def test_metadata_of_server_and_model() -> None:
    server = one(Desk(), "ServerMetadata", pb.ServerMetadataRequest())
    assert server.name == "svfit"
    assert "model_repository" in server.extensions
    model = one(Desk(), "ModelMetadata", pb.ModelMetadataRequest(name="beta"))
    assert (model.name, list(model.versions), model.platform) == ("beta", ["1", "2"], "onnxruntime_onnx")
    assert [(tensor.name, list(tensor.shape)) for tensor in model.inputs] == [("text", [-1])]
    assert ("probabilities", [-1, 3]) in [(tensor.name, list(tensor.shape)) for tensor in model.outputs]


@pytest.mark.parametrize("raw", [False, True])
def test_an_infer_answers_in_raw_outputs(raw: bool) -> None:
    request = question("a", "b", raw=raw, id="9")
    request.parameters["adapter"].string_param = "beta@1"
    desk = Desk()
    response = one(desk, "ModelInfer", request)
    assert (response.model_name, response.model_version, response.id) == ("site", "1", "9")
    assert desk.asked[0][:2] == (["a", "b"], ["beta@1", "beta@1"])
    assert outputs(response)["label"] == b"\3\0\0\0red\3\0\0\0red"
    assert struct.unpack("<2f", outputs(response)["score"]) == (0.5, 0.5)
    assert [list(tensor.shape) for tensor in response.outputs] == [[2], [2], [2, 3], [2]]


def test_a_version_and_outputs_are_honoured() -> None:
    request = question("a", model="beta", model_version="1")
    request.outputs.add(name="adapter")
    response = one(Desk(), "ModelInfer", request)
    assert (response.model_version, outputs(response)) == ("1", {"adapter": b"\6\0\0\0beta@1"})


def test_the_callers_deadline_goes_along() -> None:
    desk = Desk()
    one(desk, "ModelInfer", question("a"), timeout=7)
    assert 3 < desk.asked[0][2] < 7.5  # grpc rounds the timeout up, and a busy machine takes its time


def wrong(change: Callable[[pb.ModelInferRequest], object], raw: bool = False) -> pb.ModelInferRequest:
    request = question("a", raw=raw)
    change(request)
    return request


@pytest.mark.parametrize(
    ("request_of", "code", "message"),
    [
        (question("a", model="nothing"), "NOT_FOUND", "no adapter nothing"),
        (question("a", model="beta", model_version="5"), "NOT_FOUND", "no adapter beta@5"),
        (wrong(lambda r: r.raw_input_contents.extend([b"", b""])), "INVALID_ARGUMENT", "2 entries for 1 inputs"),
        (wrong(lambda r: r.raw_input_contents.append(b"")), "INVALID_ARGUMENT", "beside raw_input_contents"),
        (wrong(lambda r: r.inputs[0].shape.append(3)), "INVALID_ARGUMENT", "1 elements for the shape"),
        (wrong(lambda r: r.parameters["adapter"].Clear()), "INVALID_ARGUMENT", "has no value"),
        (wrong(lambda r: r.outputs.add(name="logits")), "INVALID_ARGUMENT", "not known"),
        (
            wrong(lambda r: r.inputs[0].parameters["shared_memory_region"].CopyFrom(pb.InferParameter())),
            "INVALID_ARGUMENT",
            "is an extension",
        ),
    ],
)
def test_requests_that_make_no_sense_are_refused(request_of: Any, code: str, message: str) -> None:
    got, details = refusal(Desk(), "ModelInfer", request_of)
    assert got == code
    assert message in details


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (TooLarge("too large"), "INVALID_ARGUMENT"),
        (DeadlineError("too late"), "DEADLINE_EXCEEDED"),
        (BusyError("too much", 1.2), "RESOURCE_EXHAUSTED"),
        (KeyError("secret"), "INTERNAL"),
    ],
)
def test_an_errors_kind_becomes_a_status(error: Exception, code: str, caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk()
    desk.fails = error
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        one(desk, "ModelInfer", question("a"))
    assert caught.value.code().name == code
    assert "secret" not in str(caught.value.details())
    assert ("secret" in caplog.text) == (code == "INTERNAL")
    trailing = {entry[0]: entry[1] for entry in caught.value.trailing_metadata() or ()}
    assert trailing.get("retry-after") == ("2" if isinstance(error, BusyError) else None)


def test_a_message_over_the_limit_is_refused() -> None:
    assert refusal(Desk(), "ModelInfer", question("a" * 2**18))[0] == "RESOURCE_EXHAUSTED"


def test_the_index_lists_versions() -> None:
    models = one(Desk(), "RepositoryIndex", pb.RepositoryIndexRequest(ready=True)).models
    found = {(model.name, model.version, model.state) for model in models}
    assert {("site", "1", "READY"), ("beta", "1", "READY"), ("beta", "2", "READY")} <= found
    assert len(models) == 1 + 2 * (len(TASKS) - 1)


def test_adapters_are_loaded_and_unloaded() -> None:
    desk = Desk()
    request = pb.RepositoryModelLoadRequest(model_name="new")
    request.parameters["config"].string_param = "{}"
    request.parameters["file:adapter.json"].bytes_param = b"{}"
    request.parameters["file:adapter.safetensors"].bytes_param = b"x"
    one(desk, "RepositoryModelLoad", request)
    assert desk.changes == [((b"{}", b"x"), "new")]
    one(desk, "RepositoryModelUnload", pb.RepositoryModelUnloadRequest(model_name="beta"))
    assert "beta" not in desk.names
    code, _ = refusal(desk, "RepositoryModelUnload", pb.RepositoryModelUnloadRequest(model_name="site"))
    assert code == "FAILED_PRECONDITION"


def test_a_large_request_is_read_too() -> None:
    request = question(*["text " * 20] * 1000, model="beta", raw=True)
    request.outputs.add(name="score")
    assert len(outputs(one(Desk(), "ModelInfer", request))["score"]) == 4000
