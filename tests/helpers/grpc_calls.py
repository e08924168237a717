"""Calls to the gRPC service over a real channel, for its tests."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

import grpc
import pytest
from oip_desk import Desk

from serve.http.exchange import Exchange
from serve.rpc import inference_pb2 as pb
from serve.rpc.server import SERVICE, start
from serve.rpc.servicer import METHODS
from serve.service import Service

T = TypeVar("T")
Call = Callable[..., Awaitable[Any]]


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
