"""A request's size and time: its body, read no further than the limit, and the deadline it asks for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.datastructures import Headers

from serve.config import ServeConfig
from serve.errors import InputError, SvfitError, TooLarge

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
TIMEOUT_HEADER = "x-request-timeout-ms"
LINGER_SECONDS = 1.0  # a body that nobody wants is still taken from the wire, so that the client reads why
LINGER_BYTES = 64 * 2**20


class SlowError(SvfitError):
    """A request's body didn't arrive in time."""

    kind = "slow"


class HungUp(Exception):  # noqa: N818  (no error of ours)
    """The client left before its request had arrived."""


def timeout_seconds(headers: Headers, config: ServeConfig) -> float:
    """The time a request has: X-Request-Timeout-Ms, no more than `max_timeout_ms`; without it `timeout_ms`.

    Raises InputError for a header that is no whole number above 0.
    """
    given = headers.get(TIMEOUT_HEADER)
    if given is None:
        return config.timeout_ms / 1000
    if not (given.isascii() and given.isdigit() and len(given) < 16 and int(given)):
        raise InputError(f"X-Request-Timeout-Ms: must be a whole number of milliseconds above 0 (got {given[:40]!r})")
    return min(int(given), config.max_timeout_ms) / 1000


async def read_body(receive: Receive, headers: Headers, config: ServeConfig) -> bytes:
    """The whole body.

    Raises TooLarge, before reading where Content-Length tells, else at the limit; SlowError; HungUp.
    """
    most = int(config.max_body_mb * 2**20)
    declared = headers.get("content-length", "0")
    if declared.isascii() and declared.isdigit() and int(declared) > most:
        raise _too_large(config)
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(config.read_seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise HungUp
                chunk = message.get("body", b"")
                size += len(chunk)
                if size > most:
                    raise _too_large(config)
                chunks.append(chunk)
                if not message.get("more_body", False):
                    return chunks[0] if len(chunks) == 1 else b"".join(chunks)
    except TimeoutError as error:
        raise SlowError(f"the request's body didn't arrive within {config.read_seconds:g} s") from error


async def discard(receive: Receive) -> None:
    """Take the rest of a body from the wire for a moment, keeping nothing."""
    size = 0
    try:
        async with asyncio.timeout(LINGER_SECONDS):
            while size < LINGER_BYTES:
                message = await receive()
                size += len(message.get("body", b""))
                if not message.get("more_body", False):
                    return
    except TimeoutError:
        return


def _too_large(config: ServeConfig) -> TooLarge:
    return TooLarge(f"the body is larger than {config.max_body_mb:g} MB (max_body_mb); send several requests")
