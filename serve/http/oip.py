"""The Open Inference Protocol, version 2, over HTTP: /v2 and all below it but the repository."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response

from serve.http import repository
from serve.http.binary import HEADER, read_request, write_response
from serve.http.limits import timeout_seconds
from serve.http.protocol import ProtocolRoute, check_plain, responses
from serve.oip import models
from serve.oip.infer import infer
from serve.oip.models import ModelInfo, ServerInfo
from serve.service import Service

SMALL_BODY = 64 * 2**10
"""Bytes of a body that is read at once, without a thread: some tenths of a millisecond."""
SMALL_ANSWER = 4096
"""Elements of the outputs that are written at once; a number takes a third of a microsecond."""


@dataclass(frozen=True, slots=True)
class ServerLive:
    """The server runs."""

    live: bool


@dataclass(frozen=True, slots=True)
class ServerReady:
    """The server answers requests."""

    ready: bool


@dataclass(frozen=True, slots=True)
class ModelReady:
    """A model answers requests."""

    name: str
    ready: bool


def add_routes(app: FastAPI, service: Service) -> None:
    """Add every route of the protocol, those of its repository too."""
    app.include_router(routes(service))
    app.include_router(repository.routes(service))


def routes(service: Service) -> APIRouter:
    """The routes; access, limits of size and whether requests are let in are checked in front of them."""
    router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"], route_class=ProtocolRoute)

    @router.get("", summary="Server metadata", responses=responses())
    async def server() -> ServerInfo:
        return models.server_metadata()

    @router.get("/health/live", summary="Whether the server runs")
    async def live() -> ServerLive:
        return ServerLive(True)

    @router.get("/health/ready", summary="Whether the server answers requests", responses=responses())
    async def ready() -> ServerReady:
        service.admit()
        return ServerReady(True)

    @router.get("/models/{name}", summary="Model metadata", responses=responses(404))
    async def model(name: str) -> ModelInfo:
        return await models.model_metadata(service, name)

    @router.get("/models/{name}/versions/{version}", summary="Model metadata", responses=responses(404))
    async def model_version(name: str, version: str) -> ModelInfo:
        return await models.model_metadata(service, name, version)

    @router.get("/models/{name}/ready", summary="Whether a model answers", responses=responses(404))
    async def model_ready(name: str) -> ModelReady:
        service.admit()
        return ModelReady(name, await models.is_ready(service, name))

    @router.get("/models/{name}/versions/{version}/ready", summary="Whether a model answers", responses=responses(404))
    async def model_version_ready(name: str, version: str) -> ModelReady:
        service.admit()
        return ModelReady(name, await models.is_ready(service, name, version))

    @router.post("/models/{name}/infer", **_INFER)
    async def model_infer(request: Request, name: str) -> Response:
        return await _infer(service, request, name, "")

    @router.post("/models/{name}/versions/{version}/infer", **_INFER)
    async def model_version_infer(request: Request, name: str, version: str) -> Response:
        return await _infer(service, request, name, version)

    return router


async def _infer(service: Service, request: Request, name: str, version: str) -> Response:
    seconds = timeout_seconds(request.headers, service.config)
    check_plain(request)
    body, header = await request.body(), request.headers.get(HEADER)
    if len(body) > SMALL_BODY:
        asked, binary = await service.call(read_request, name, version, body, header)
    else:
        asked, binary = read_request(name, version, body, header)
    response = await infer(service, asked, seconds)
    if sum(math.prod(tensor.shape) for tensor in response.outputs) > SMALL_ANSWER:
        content, length = await service.call(write_response, response, binary)
    else:
        content, length = write_response(response, binary)
    if length is None:
        return Response(content, media_type="application/json")
    return Response(content, media_type="application/octet-stream", headers={HEADER: str(length)})


_TENSOR: dict[str, Any] = {
    "type": "object",
    "required": ["name", "datatype", "shape"],
    "properties": {
        "name": {"type": "string"},
        "datatype": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer"}},
        "data": {"type": "array", "items": {}},
        "parameters": {"type": "object"},
    },
}
_REQUEST: dict[str, Any] = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": {"type": "string"},
        "parameters": {"type": "object", "properties": {"adapter": {"type": "string"}, "timeout": {"type": "integer"}}},
        "inputs": {"type": "array", "items": _TENSOR},
        "outputs": {"type": "array", "items": {"type": "object", "required": ["name"]}},
    },
    "example": {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["it arrived broken"]}]},
}
_RESPONSE: dict[str, Any] = {
    "type": "object",
    "required": ["model_name", "outputs"],
    "properties": {
        "model_name": {"type": "string"},
        "model_version": {"type": "string"},
        "id": {"type": "string"},
        "outputs": {"type": "array", "items": _TENSOR},
    },
}
_INFER: dict[str, Any] = {
    "summary": "Answer rows of text",
    "openapi_extra": {"requestBody": {"required": True, "content": {"application/json": {"schema": _REQUEST}}}},
    "responses": {
        200: {"description": "The outputs.", "content": {"application/json": {"schema": _RESPONSE}}},
        **responses(403, 404, 413, 429),
    },
}
