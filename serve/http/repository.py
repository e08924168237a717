"""The repository routes that Triton adds to the Open Inference Protocol."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from fastapi import APIRouter, Request, Response

from serve.errors import InputError
from serve.http.binary import read_object
from serve.http.protocol import ProtocolRoute, check_plain, responses
from serve.oip import repository
from serve.oip.repository import IndexEntry
from serve.service import Service


def routes(service: Service) -> APIRouter:
    """The routes; that `load` and `unload` need an admin key is checked in front of them."""
    router = APIRouter(prefix="/v2/repository", tags=["Model repository"], route_class=ProtocolRoute)

    @router.post("/index", summary="Every version of every model", openapi_extra=_body("ready"), responses=responses())
    async def index(request: Request) -> list[IndexEntry]:
        read_object(await request.body())
        return await repository.index(service)

    @router.post(
        "/models/{name}/load",
        summary="Take an adapter into service",
        openapi_extra=_body("parameters"),
        responses=responses(403, 404, 409, 413),
    )
    async def load(request: Request, name: str) -> Response:
        check_plain(request)
        parameters = await service.call(_parameters, await request.body())
        await repository.load(service, name, parameters)
        return Response(status_code=200)

    @router.post(
        "/models/{name}/unload",
        summary="Remove an adapter",
        openapi_extra=_body("parameters"),
        responses=responses(403, 404, 409),
    )
    async def unload(request: Request, name: str) -> Response:
        read_object(await request.body())
        await repository.unload(service, name)
        return Response(status_code=200)

    return router


def _body(key: str) -> dict[str, Any]:
    schema = {"type": "object", "properties": {key: {"type": "boolean" if key == "ready" else "object"}}}
    return {"requestBody": {"required": False, "content": {"application/json": {"schema": schema}}}}


def _parameters(body: bytes) -> dict[str, Any]:
    """A load request's parameters, its files decoded from base64. Raises InputError."""
    parameters = read_object(body).get("parameters", {})
    if not isinstance(parameters, dict):
        raise InputError("parameters: must be an object")
    return {name: _file(name, value) if name.startswith("file:") else value for name, value in parameters.items()}


def _file(name: str, value: Any) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise InputError(f'parameter "{name}": must be base64 text') from error
