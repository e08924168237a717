"""The gRPC server's life: start, keys, TLS, hang-ups, stop."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from grpc_calls import Call, outputs, question, talk
from oip_desk import Desk

from serve.access import Access
from serve.errors import MissingDependency, UsageError
from serve.http.exchange import Exchange
from serve.rpc import inference_pb2 as pb
from serve.rpc.server import SERVICE, credentials, start
from serve.rpc.servicer import METHODS
from serve.service import Service

USER, ADMIN = "u" * 16, "a" * 16


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

    async def script(call: Call) -> str | bytes:
        await call("ModelInfer", question("a"), metadata=(("x-request-id", "mine"),))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call("ModelInfer", question("a", model="nothing"))
        trailing = {entry[0]: entry[1] for entry in caught.value.trailing_metadata() or ()}
        return trailing["x-request-id"]

    # A refusal is told after it was sent: only when the server has stopped is it certain to be in `seen`.
    refused = talk(Desk(), script, seen)
    assert refused == seen[1].id
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
