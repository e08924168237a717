"""The gRPC server, on the event loop that the HTTP server runs on. grpc is imported when one is started."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serve.errors import BusyError, MissingDependency, SvfitError, UsageError
from serve.http.exchange import CURRENT, Exchange, request_id
from serve.service import Service

log = logging.getLogger(__name__)
SERVICE = "inference.GRPCInferenceService"
MEGABYTE = 2**20
INTERNAL = ("INTERNAL", 500)
HUNG_UP = 499
STATUS = {
    "usage": ("INVALID_ARGUMENT", 400),
    "input": ("INVALID_ARGUMENT", 400),
    "too_large": ("INVALID_ARGUMENT", 413),
    "not_found": ("NOT_FOUND", 404),
    "conflict": ("FAILED_PRECONDITION", 409),
    "unauthorized": ("UNAUTHENTICATED", 401),
    "forbidden": ("PERMISSION_DENIED", 403),
    "busy": ("RESOURCE_EXHAUSTED", 429),
    "deadline": ("DEADLINE_EXCEEDED", 503),
    "closing": ("UNAVAILABLE", 503),
}
"""The gRPC status of an error's kind, INTERNAL for any other, and HTTP's for the log.

A busy server sends `retry-after`, seconds, along.
"""


@dataclass(frozen=True, slots=True)
class Server:
    """A gRPC server that runs, listening on `port`."""

    port: int
    _server: Any

    async def stop(self, grace_seconds: float) -> None:
        """Take nothing new, and let what is under way finish within this time."""
        await self._server.stop(grace_seconds)


async def start(
    service: Service,
    host: str,
    port: int,
    tls: tuple[Path, Path] | None = None,
    observe: Callable[[Exchange], None] | None = None,
) -> Server:
    """Listen on `host` and `port` (0 takes a free one); `tls` is a certificate chain and its key, PEM files.

    `observe` is told of each call when it is over: its method is "GRPC", its path that of the call, and its status
    the one that HTTP has for such an end. The caller gets its id as `x-request-id`, and may give it.
    Messages are bounded as HTTP's bodies are, by `max_body_mb`.
    Raises MissingDependency without grpcio, UsageError for an address or files that can't be used.
    """
    try:
        import grpc.aio

        from serve.rpc.servicer import METHODS, Servicer
    except ImportError as error:
        raise MissingDependency("grpcio", "grpc", "gRPC (grpc_port)") from error
    largest = int(service.config.max_body_mb * MEGABYTE)
    options = [("grpc.max_receive_message_length", largest), ("grpc.so_reuseport", 0)]
    server = grpc.aio.server(options=[*options, ("grpc.max_send_message_length", -1)])
    servicer = Servicer(service)
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(
            _handler(service, servicer, name, method, grpc.StatusCode, observe),
            request_deserializer=method.request.FromString,
            response_serializer=method.response.SerializeToString,
        )
        for name, method in METHODS.items()
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    address = f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"
    try:
        if tls is None:
            bound = server.add_insecure_port(address)
        else:
            chain, key = (path.read_bytes() for path in tls)
            bound = server.add_secure_port(address, grpc.ssl_server_credentials([(key, chain)]))
    except OSError as error:
        raise UsageError(f"{error.filename}: can't be read ({error.strerror or error})") from error
    except RuntimeError as error:
        raise UsageError(f"grpc_port: can't listen on {address} (is the port taken?)") from error
    await server.start()
    return Server(bound, server)


def _handler(
    service: Service, servicer: Any, name: str, method: Any, codes: Any, observe: Callable[[Exchange], None] | None
) -> Callable[[Any, Any], Awaitable[Any]]:
    async def handle(request: Any, context: Any) -> Any:
        metadata = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
        exchange = Exchange(request_id(metadata.get("x-request-id")), "GRPC", f"/{SERVICE}/{name}", status=HUNG_UP)
        told = CURRENT.set(exchange)
        trailing: tuple[tuple[str, str], ...] = (("x-request-id", exchange.id),)
        try:
            if method.key != "none":
                key, direct = credentials(metadata)
                service.access.check(key, admin=method.key == "admin", direct=direct)
            answer = await method.answer(servicer, request, context.time_remaining())
            exchange.status = 200
            context.set_trailing_metadata(trailing)
            return answer
        except SvfitError as error:
            code, exchange.status = STATUS.get(error.kind, INTERNAL)
            if isinstance(error, BusyError):
                trailing += (("retry-after", str(math.ceil(error.retry_after))),)
            await context.abort(codes[code], str(error), trailing)
        except Exception:
            log.exception("call %s failed", exchange.id)
            code, exchange.status = INTERNAL
            await context.abort(codes[code], "the server failed; its log says how", trailing)
        finally:
            CURRENT.reset(told)
            if observe is not None:
                observe(exchange)

    return handle


def credentials(metadata: Mapping[str, str]) -> tuple[str | None, bool]:
    """The key in a call's metadata (`authorization: Bearer KEY` or `x-api-key: KEY`), and whether no proxy sent it."""
    scheme, _, key = metadata.get("authorization", "").partition(" ")
    bearer = key.strip() if scheme.lower() == "bearer" else None
    return bearer or metadata.get("x-api-key"), not {"forwarded", "x-forwarded-for"} & metadata.keys()
