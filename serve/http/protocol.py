"""What the routes below /v2 share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from serve.errors import InputError, UsageError
from serve.http.errors import RESPONSES, told


class ProtocolRoute(APIRoute):
    """A route whose requests that make no sense get 400, as the protocol has it (elsewhere here it is 422)."""

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]
        answer = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                return await answer(request)
            except (InputError, UsageError) as error:
                return told(400, str(error))

        return handle


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What a route may answer besides 200, for its documentation."""
    senseless = {**RESPONSES[422], "description": "The request makes no sense."}
    conflict = {**RESPONSES[422], "description": "It contradicts what is there."}
    known = {**RESPONSES, 400: senseless, 409: conflict}
    return {status: known[status] for status in (400, 401, *statuses, 503)}


def check_plain(request: Request) -> None:
    """Raises InputError for a body that is compressed: its size could not be bounded by what arrives."""
    encoding = request.headers.get("content-encoding", "identity")
    if encoding != "identity":
        raise InputError(f"Content-Encoding: {encoding[:40]} is not read here; send the body as it is")
