"""What every request passes before a route: id, access, limits of size; hang-ups, the log and the metrics."""

from __future__ import annotations

import asyncio
import traceback
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.errors import ClosingError, NotFound, SvfitError
from serve.http.access import OPEN, check_access
from serve.http.errors import INTERNAL, error_response, told
from serve.http.exchange import CURRENT, Exchange, request_id
from serve.http.limits import HungUp, discard, read_body
from serve.http.logs import Log
from serve.http.metrics import PrometheusMetrics
from serve.http.uploads import NO_SITE, UPLOADS, Upload, read_upload
from serve.service import Service

HUNG_UP = 499  # nginx's number for a client that left; nobody reads it but the log and the metrics
WHILE_ANY = OPEN | {"/metrics"}  # answered in every state


class Front:
    """Pure ASGI middleware around the routes."""

    def __init__(self, app: ASGIApp, service: Service, metrics: PrometheusMetrics, log: Log) -> None:
        self._app, self._service, self._metrics, self._log = app, service, metrics, log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; other protocols aren't spoken."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        exchange = Exchange(request_id(headers.get("x-request-id")), scope["method"], scope["path"])
        scope["svfit"] = exchange
        token = CURRENT.set(exchange)

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                MutableHeaders(raw=message["headers"])["x-request-id"] = exchange.id
            elif not message.get("more_body", False):
                exchange.finished = True
            await send(message)

        try:
            await self._answer(scope, headers, receive, sending, exchange)
        finally:
            CURRENT.reset(token)
            self._metrics.request(exchange, _route(scope))
            self._log.request(exchange)

    async def _answer(self, scope: Scope, headers: Headers, receive: Receive, send: Send, exchange: Exchange) -> None:
        has_body = scope["method"] not in ("GET", "HEAD", "OPTIONS")
        try:
            check_access(
                self._service.access, scope["method"], scope["path"], headers, self._service.config.cors_origins
            )
            if scope["path"] not in WHILE_ANY:
                self._service.admit()
            upload = await self._upload(scope, headers, receive)
            body = await read_body(receive, headers, self._service.config) if has_body and upload is None else b""
        except HungUp:
            exchange.status = HUNG_UP
            return
        except SvfitError as error:
            await self._refuse(error, scope, receive, send, has_body)
            return
        try:
            if has_body:
                await self._until_hung_up(scope, body, receive, send, exchange)
            else:
                await self._app(scope, receive, send)
        except asyncio.CancelledError:  # the time to drain is over
            if exchange.status:
                raise
            late = ClosingError("the server stopped before this was answered; try another one")
            await error_response(late)(scope, receive, send)
        except Exception as error:
            trace = "".join(traceback.format_exception(error))
            self._log.event("unexpected error", "error", id=exchange.id, trace=trace)
            self._metrics.failed("internal")
            if not exchange.status:
                await told(500, INTERNAL)(scope, receive, send)
        finally:
            if upload is not None:
                upload.discard()

    async def _upload(self, scope: Scope, headers: Headers, receive: Receive) -> Upload | None:
        """The body of a request whose body belongs in a file, left in `scope["svfit.upload"]`."""
        config, site = self._service.config, self._service.site
        if (scope["method"], scope["path"]) not in UPLOADS:
            return None
        if site is None:
            raise NotFound(NO_SITE)
        upload = await read_upload(receive, headers, site.incoming, config.site_max_mb, config.read_seconds)
        scope["svfit.upload"] = upload
        return upload

    async def _until_hung_up(self, scope: Scope, body: bytes, receive: Receive, send: Send, exchange: Exchange) -> None:
        """Run the routes on a body already read; cancel them when the client leaves."""
        task: asyncio.Task[Any] | None = asyncio.current_task()
        assert task is not None  # noqa: S101  (a coroutine runs in a task)

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            if not exchange.finished:
                exchange.gone = True
                task.cancel()

        watcher = asyncio.create_task(watch())
        try:
            await self._app(scope, _replay(body), send)
        except asyncio.CancelledError:
            if not exchange.gone or task.uncancel() > 0:
                raise
        finally:
            watcher.cancel()
            if exchange.gone:
                exchange.status = HUNG_UP

    async def _refuse(self, error: SvfitError, scope: Scope, receive: Receive, send: Send, has_body: bool) -> None:
        """Answer without having read the body; the connection isn't used again, as the body is in the way."""
        self._metrics.failed(error.kind)
        response = error_response(error)
        if not has_body:
            await response(scope, receive, send)
            return
        response.headers["connection"] = "close"
        await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
        await send({"type": "http.response.body", "body": response.body, "more_body": True})
        await discard(receive)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _replay(body: bytes) -> Receive:
    """A body already read, as the routes expect to receive it."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        if messages:
            return messages.pop()
        return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]  # never comes

    return receive


def _route(scope: Scope) -> str:
    """The template of the route that answered, of which there are few; other paths are anybody's to invent."""
    return str(getattr(scope.get("route"), "path", "other"))
