"""The gRPC server, on the event loop that the HTTP server runs on. grpc is imported when one is started."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serve.errors import BusyError, MissingDependency, SvfitError, UsageError
from serve.service import Service

log = logging.getLogger(__name__)
MEGABYTE = 2**20
STATUS = {
    "usage": "INVALID_ARGUMENT",
    "input": "INVALID_ARGUMENT",
    "too_large": "INVALID_ARGUMENT",
    "not_found": "NOT_FOUND",
    "conflict": "FAILED_PRECONDITION",
    "unauthorized": "UNAUTHENTICATED",
    "forbidden": "PERMISSION_DENIED",
    "busy": "RESOURCE_EXHAUSTED",
    "deadline": "DEADLINE_EXCEEDED",
    "closing": "UNAVAILABLE",
}
"""The gRPC status of an error's kind; INTERNAL for any other. A busy server sends `retry-after`, seconds, along."""


@dataclass(frozen=True, slots=True)
class Server:
    """A gRPC server that runs, listening on `port`."""

    port: int
    _server: Any

    async def stop(self, grace_seconds: float) -> None:
        """Take nothing new, and let what is under way finish within this time."""
        await self._server.stop(grace_seconds)


async def start(service: Service, host: str, port: int, tls: tuple[Path, Path] | None = None) -> Server:
    """Listen on `host` and `port` (0 takes a free one); `tls` is a certificate chain and its key, PEM files.

    Messages are bounded as HTTP's bodies are, by `max_body_mb`.
    Raises MissingDependency without grpcio, UsageError for an address or files that can't be used.
    """
    try:
        import grpc.aio

        from serve.rpc.servicer import METHODS, SERVICE, Servicer
    except ImportError as error:
        raise MissingDependency("grpcio", "grpc", "gRPC (grpc_port)") from error
    largest = int(service.config.max_body_mb * MEGABYTE)
    options = [("grpc.max_receive_message_length", largest), ("grpc.so_reuseport", 0)]
    server = grpc.aio.server(options=[*options, ("grpc.max_send_message_length", -1)])
    servicer = Servicer(service)
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(
            _handler(service, servicer, method, grpc.StatusCode),
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


def _handler(service: Service, servicer: Any, method: Any, codes: Any) -> Callable[[Any, Any], Awaitable[Any]]:
    async def handle(request: Any, context: Any) -> Any:
        try:
            if method.key != "none":
                key, direct = credentials(context.invocation_metadata() or ())
                service.access.check(key, admin=method.key == "admin", direct=direct)
            return await method.answer(servicer, request, context.time_remaining())
        except SvfitError as error:
            code = codes[STATUS.get(error.kind, "INTERNAL")]
            trailing = (("retry-after", str(math.ceil(error.retry_after))),) if isinstance(error, BusyError) else ()
            await context.abort(code, str(error), trailing)
        except Exception:
            log.exception("a gRPC call failed")
            await context.abort(codes.INTERNAL, "the server failed; its log says how")

    return handle


def credentials(metadata: Iterable[tuple[str, str | bytes]]) -> tuple[str | None, bool]:
    """The key in a call's metadata (`authorization: Bearer KEY` or `x-api-key: KEY`), and whether no proxy sent it."""
    found = {name: value for name, value in metadata if isinstance(value, str)}
    scheme, _, key = found.get("authorization", "").partition(" ")
    bearer = key.strip() if scheme.lower() == "bearer" else None
    return bearer or found.get("x-api-key"), not {"forwarded", "x-forwarded-for"} & found.keys()
