"""The gRPC service: its messages against the protocol's, and each call over a real channel."""

from __future__ import annotations

import asyncio
import struct
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from oip_desk import TASKS, Desk

import serve.rpc
from serve.access import Access
from serve.errors import BusyError, DeadlineError, MissingDependency, TooLarge, UsageError
from serve.http.exchange import Exchange
from serve.rpc import inference_pb2 as pb
from serve.rpc.generate import generate
from serve.rpc.server import SERVICE, credentials, start
from serve.rpc.servicer import METHODS
from serve.service import Service

T = TypeVar("T")
Call = Callable[..., Awaitable[Any]]
USER, ADMIN = "u" * 16, "a" * 16


def talk(desk: Desk, script: Callable[[Call], Awaitable[T]], seen: list[Exchange] | None = None) -> T:
    """Run a script against a server of this desk; it gets `call(method, request, **options of grpc)`."""

    async def run() -> T:
        server = await start(cast(Service, desk), "127.0.0.1", 0, observe=None if seen is None else seen.append)
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:

                async def call(name: str, request: Any, **options: Any) -> Any:
                    method = METHODS[name]
                    stub = channel.unary_unary(
                        f"/{SERVICE}/{name}",
                        request_serializer=method.request.SerializeToString,
                        response_deserializer=method.response.FromString,
                    )
                    return await stub(request, timeout=options.pop("timeout", 10), **options)

                return await script(call)
        finally:
            await server.stop(0)

    return asyncio.run(run())


def one(desk: Desk, name: str, request: Any, **options: Any) -> Any:
    return talk(desk, lambda call: call(name, request, **options))


def refusal(desk: Desk, name: str, request: Any, **options: Any) -> tuple[str, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        one(desk, name, request, **options)
    return caught.value.code().name, str(caught.value.details())


def question(*texts: str, model: str = "site", raw: bool = False, **more: Any) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name=model, **more)
    tensor = request.inputs.add(name="text", datatype="BYTES", shape=[len(texts)])
    data = [text.encode() for text in texts]
    if raw:
        request.raw_input_contents.append(b"".join(struct.pack("<I", len(item)) + item for item in data))
    else:
        tensor.contents.bytes_contents.extend(data)
    return request


def outputs(response: pb.ModelInferResponse) -> dict[str, bytes]:
    names = [tensor.name for tensor in response.outputs]
    return dict(zip(names, response.raw_output_contents, strict=True))


def fields(message: Any, prefix: str = "") -> dict[str, tuple[int, int, int, str]]:
    found = {
        f"{prefix}{message.name}.{field.name}": (field.number, field.type, field.label, field.type_name)
        for field in message.field
    }
    for nested in message.nested_type:
        found |= fields(nested, f"{prefix}{message.name}.")
    return found


def test_every_message_and_call_is_as_tritonclient_has_it() -> None:
    from tritonclient.grpc import service_pb2

    ours, theirs = FileDescriptorProto(), FileDescriptorProto()
    pb.DESCRIPTOR.CopyToProto(ours)
    service_pb2.DESCRIPTOR.CopyToProto(theirs)
    known = {message.name: fields(message) for message in theirs.message_type}
    assert ours.package == theirs.package
    for message in ours.message_type:
        assert fields(message) == known[message.name], message.name
    calls = {method.name: (method.input_type, method.output_type) for method in theirs.service[0].method}
    assert theirs.service[0].name == ours.service[0].name == SERVICE.partition(".")[2]
    assert {method.name for method in ours.service[0].method} == METHODS.keys()
    for method in ours.service[0].method:
        assert calls[method.name] == (method.input_type, method.output_type)


def test_the_committed_messages_are_those_of_the_proto(tmp_path: Path) -> None:
    generate(tmp_path)
    for name in ("inference_pb2.py", "inference_pb2.pyi"):
        assert (tmp_path / name).read_text() == (Path(serve.rpc.__file__).parent / name).read_text(), name


def test_nothing_but_a_start_imports_grpc() -> None:
    script = "import serve.rpc.server, serve.rpc.servicer, sys; print('grpc' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_without_grpcio_a_start_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "grpc.aio", None)
    with pytest.raises(MissingDependency, match=r"pip install 'svfit\[grpc\]'"):
        asyncio.run(start(cast(Service, Desk()), "127.0.0.1", 0))


def test_a_port_that_is_taken_is_told() -> None:
    async def twice() -> None:
        first = await start(cast(Service, Desk()), "127.0.0.1", 0)
        try:
            await start(cast(Service, Desk()), "127.0.0.1", first.port)
        finally:
            await first.stop(0)

    with pytest.raises(UsageError, match="is the port taken"):
        asyncio.run(twice())


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
    assert 6 < desk.asked[0][2] <= 7


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


@pytest.mark.parametrize(
    ("key", "ask", "change"),
    [
        (None, "UNAUTHENTICATED", "UNAUTHENTICATED"),
        ("x" * 16, "UNAUTHENTICATED", "UNAUTHENTICATED"),
        (USER, "OK", "PERMISSION_DENIED"),
        (ADMIN, "OK", "OK"),
    ],
)
@pytest.mark.parametrize("header", ["authorization", "x-api-key"])
def test_keys_are_asked_for_as_over_http(header: str, key: str | None, ask: str, change: str) -> None:
    desk = Desk(Access((USER.encode(),), (ADMIN.encode(),)))
    value = f"Bearer {key}" if header == "authorization" else key
    metadata = () if key is None else ((header, value),)

    async def script(call: Call) -> list[str]:
        codes = []
        for name, request in (
            ("ServerLive", pb.ServerLiveRequest()),
            ("ModelInfer", question("a")),
            ("RepositoryModelUnload", pb.RepositoryModelUnloadRequest(model_name="beta")),
        ):
            try:
                await call(name, request, metadata=metadata)
                codes.append("OK")
            except grpc.aio.AioRpcError as error:
                codes.append(error.code().name)
        return codes

    assert talk(desk, script) == ["OK", ask, change]
    assert ("beta" in desk.names) == (change != "OK")


def test_a_call_that_came_through_a_proxy_is_not_direct() -> None:
    assert credentials({"authorization": "bearer  k", "x-api-key": "other"}) == ("k", True)
    assert credentials({"authorization": "Basic k", "x-forwarded-for": "10.0.0.1"}) == (None, False)


def test_each_call_is_told_with_its_id_and_status() -> None:
    seen: list[Exchange] = []

    async def script(call: Call) -> None:
        await call("ModelInfer", question("a"), metadata=(("x-request-id", "mine"),))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call("ModelInfer", question("a", model="nothing"))
        trailing = {entry[0]: entry[1] for entry in caught.value.trailing_metadata() or ()}
        assert trailing["x-request-id"] == seen[1].id

    talk(Desk(), script, seen)
    assert [(one.method, one.path, one.status) for one in seen] == [
        ("GRPC", "/inference.GRPCInferenceService/ModelInfer", 200),
        ("GRPC", "/inference.GRPCInferenceService/ModelInfer", 404),
    ]
    assert seen[0].id == "mine"


def test_a_caller_that_hangs_up_frees_its_place() -> None:
    desk, seen = Desk(), list[Exchange]()
    desk.takes = 30.0

    async def script(call: Call) -> None:
        asking = asyncio.ensure_future(call("ModelInfer", question("a")))
        while not desk.asked:
            await asyncio.sleep(0.01)
        asking.cancel()
        while not seen:
            await asyncio.sleep(0.01)

    talk(desk, script, seen)
    assert (desk.cancelled, seen[0].status) == (True, 499)


def test_what_is_under_way_is_finished_when_the_server_stops() -> None:
    desk = Desk()
    desk.takes = 0.3

    async def run() -> Any:
        server = await start(cast(Service, desk), "127.0.0.1", 0)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            method = METHODS["ModelInfer"]
            serialize, parse = method.request.SerializeToString, method.response.FromString
            stub = channel.unary_unary(f"/{SERVICE}/ModelInfer", serialize, parse)
            asking = asyncio.ensure_future(stub(question("a")))
            while not desk.asked:
                await asyncio.sleep(0.01)
            await server.stop(10)
            return await asking

    assert outputs(asyncio.run(run()))["label"] == b"\3\0\0\0yes"


def test_a_large_request_is_read_too() -> None:
    request = question(*["text " * 20] * 1000, model="beta", raw=True)
    request.outputs.add(name="score")
    assert len(outputs(one(Desk(), "ModelInfer", request))["score"]) == 4000


def test_tls_keeps_out_who_does_not_speak_it(tmp_path: Path) -> None:
    key, chain = tmp_path / "key.pem", tmp_path / "chain.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    subprocess.run([*made, "-keyout", key, "-out", chain, *subject], check=True, capture_output=True)

    async def run() -> tuple[bool, str]:
        server = await start(cast(Service, Desk()), "127.0.0.1", 0, (chain, key))
        target, path = f"localhost:{server.port}", f"/{SERVICE}/ServerLive"
        serialize, parse = pb.ServerLiveRequest.SerializeToString, pb.ServerLiveResponse.FromString
        try:
            trusted = grpc.ssl_channel_credentials(chain.read_bytes())
            async with grpc.aio.secure_channel(target, trusted) as channel:
                live = await channel.unary_unary(path, serialize, parse)(pb.ServerLiveRequest(), timeout=10)
            async with grpc.aio.insecure_channel(target) as channel:
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await channel.unary_unary(path, serialize, parse)(pb.ServerLiveRequest(), timeout=10)
            return live.live, caught.value.code().name
        finally:
            await server.stop(0)

    assert asyncio.run(run()) == (True, "UNAVAILABLE")
    with pytest.raises(UsageError, match=r"nowhere\.pem: can't be read"):
        asyncio.run(start(cast(Service, Desk()), "127.0.0.1", 0, (tmp_path / "nowhere.pem", key)))
