"""The one table from an error's kind to an HTTP status, and every error as {"error": "one line"}."""

from __future__ import annotations

import json
import math
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from serve.errors import BusyError, InputError, SvfitError

STATUS = {
    "usage": 422,
    "input": 422,
    "unauthorized": 401,
    "forbidden": 403,
    "not_found": 404,
    "slow": 408,
    "conflict": 409,
    "too_large": 413,
    "busy": 429,
    "gate": 500,
    "failed": 500,
    "missing": 501,
    "deadline": 503,
    "closing": 503,
}
RETRY_SECONDS = 1  # told with 503, where nothing was measured that would tell better
INTERNAL = "something went wrong in the server; its log has the reason under this request's X-Request-Id"


ERROR: dict[str, Any] = {
    "title": "Error",
    "description": "What went wrong, in one line.",
    "type": "object",
    "properties": {"error": {"type": "string"}},
    "required": ["error"],
}
"""The body of every error. A schema and no model: FastAPI would build one of its own for each status of each route."""
RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"content": {"application/json": {"schema": ERROR}}, "description": description}
    for status, description in {
        401: "No key, or an unknown one.",
        403: "The key doesn't go so far.",
        404: "No such adapter.",
        413: "Over a limit of size.",
        422: "The request makes no sense.",
        429: "The queue is full; see Retry-After.",
        503: "Loading, stopping, or past the deadline; see Retry-After.",
    }.items()
}
"""For the `responses` of a route."""


def error_response(error: SvfitError) -> Response:
    """The answer that tells an expected error."""
    status = STATUS.get(error.kind, 500)
    headers = {}
    if isinstance(error, BusyError):
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after)))
    elif status == 503:
        headers["retry-after"] = str(RETRY_SECONDS)
    elif status == 401:
        headers["www-authenticate"] = "Bearer"
    return told(status, str(error), headers)


def told(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    """An error of any status in the one form."""
    return JSONResponse({"error": "; ".join(message.splitlines())}, status_code=status, headers=headers)


def one_line(error: ValidationError | RequestValidationError, where: str = "") -> InputError:
    """What pydantic found, all of it, as `field: what is wrong; …`."""
    return InputError("; ".join(dict.fromkeys(_problem(item, where) for item in error.errors())))


def install(app: FastAPI) -> None:
    """Answer every error of the app's routes in the one form."""

    async def expected(_request: Request, error: Exception) -> Response:
        assert isinstance(error, SvfitError)  # noqa: S101  (what it is registered for)
        return error_response(error)

    async def invalid(_request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101
        return error_response(one_line(error))

    async def of_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101
        message = str(error.detail)
        if error.status_code == 404:
            message = f"no route {request.method} {request.url.path[:200]}; /docs lists them"
        elif error.status_code == 405:
            allowed = (error.headers or {}).get("Allow", "another method")
            message = f"{request.method} doesn't go with {request.url.path[:200]}; try {allowed}"
        return told(error.status_code, message, dict(error.headers or {}))

    app.add_exception_handler(SvfitError, expected)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, of_http)


def _problem(item: Any, where: str) -> str:
    parts = [str(part) for part in item["loc"] if not str(part).startswith(("function-", "constrained-"))]
    if not where and parts and parts[0] in ("body", "query", "path", "header"):
        parts = parts[1:] or parts
    place = "".join(f"[{part}]" if part.isdigit() else f".{part}" for part in parts).lstrip(".") or where or "body"
    context = item.get("ctx", {})
    messages = {
        "missing": "is missing",
        "json_invalid": f"not valid JSON ({context.get('error', '')})",
        "extra_forbidden": "unknown key",
        "model_type": "must be a JSON object",
        "model_attributes_type": "must be a JSON object",
        "string_type": "must be text",
    }
    message = messages.get(item["type"]) or item["msg"].removeprefix("Value error, ").removeprefix("Input s").strip()
    message = f"s{message}" if message.startswith("hould") else message
    got = item.get("input")
    simple = isinstance(got, str | int | float | bool) and item["type"] not in ("missing", "json_invalid")
    return f"{place}: {message}" + (f" (got {json.dumps(got)[:60]})" if simple else "")
