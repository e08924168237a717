"""Routes that other programs' clients ask: errors in the form that those read, wherever the error came from."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, MutableMapping
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.http.errors import RESPONSES

OPENAI_PATH = "/v1/embeddings"
OPENAI_MODELS = "/v1/models"
TEI_PATH = "/embed"

_TEXT = {"type": "string"}
OPENAI_ERROR: dict[str, Any] = {
    "title": "OpenAIError",
    "description": "What went wrong, as OpenAI's API tells it.",
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {"message": _TEXT, "type": _TEXT, "param": _TEXT, "code": _TEXT},
            "required": ["message", "type", "param", "code"],
        }
    },
    "required": ["error"],
}
TEI_ERROR: dict[str, Any] = {
    "title": "TEIError",
    "description": "What went wrong, as text-embeddings-inference tells it.",
    "type": "object",
    "properties": {"error": _TEXT, "error_type": _TEXT},
    "required": ["error", "error_type"],
}
_FIELD = re.compile(r"(input|model|encoding_format|dimensions|user)\b(\[\d+\])?:")
_CODES = {401: "invalid_api_key", 404: "model_not_found", 413: "request_too_large", 429: "rate_limit_exceeded"}


def openai_error(status: int, message: str) -> dict[str, Any]:
    """The body that OpenAI's clients read; `param` is the field that the message begins with, if any."""
    field = _FIELD.match(message)
    kind = "rate_limit_error" if status == 429 else "server_error" if status >= 500 else "invalid_request_error"
    param = field[1] if field else "model" if status == 404 else None
    return {"error": {"message": message, "type": kind, "param": param, "code": _CODES.get(status)}}


def tei_error(status: int, message: str) -> dict[str, Any]:
    """The body that text-embeddings-inference's clients read."""
    kind = "Overloaded" if status == 429 else "Unhealthy" if status == 503 else "Backend" if status >= 500 else ""
    return {"error": message, "error_type": kind or "Validation"}


DIALECTS: dict[str, Callable[[int, str], dict[str, Any]]] = {
    OPENAI_PATH: openai_error,
    OPENAI_MODELS: openai_error,
    TEI_PATH: tei_error,
}
"""The form of an error by the path that was asked for, or the one above it."""


def error_schemas(schema: dict[str, Any], senseless: int) -> dict[int | str, dict[str, Any]]:
    """For the `responses` of a route with errors of this form, `senseless` being the status of what makes no sense."""
    told = {senseless if status == 422 else status: response["description"] for status, response in RESPONSES.items()}
    return {
        status: {"content": {"application/json": {"schema": schema}}, "description": description}
        for status, description in sorted(told.items(), key=lambda item: int(item[0]))
    }


class Dialects:
    """Pure ASGI middleware around everything that makes errors: {"error": "one line"} becomes the route's own form."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whatever its protocol."""
        form = _form(scope["path"]) if scope["type"] == "http" else None
        await self._app(scope, receive, send if form is None else _Rewriting(form, send))


def _form(path: str) -> Callable[[int, str], dict[str, Any]] | None:
    return DIALECTS.get(path) or DIALECTS.get(path.rpartition("/")[0])


class _Rewriting:
    """Passes an answer on, and an error's only once its body is there: all of it comes in the first message."""

    def __init__(self, form: Callable[[int, str], dict[str, Any]], send: Send) -> None:
        self._form, self._send = form, send
        self._start: MutableMapping[str, Any] | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] >= 400:
            self._start = message
            return
        if self._start is None:
            await self._send(message)
            return
        start, self._start = self._start, None
        told = json.loads(message["body"])["error"]
        body = json.dumps(self._form(start["status"], told), ensure_ascii=False).encode()
        MutableHeaders(raw=start["headers"])["content-length"] = str(len(body))
        await self._send(start)
        await self._send({**message, "body": body})
