"""Which key a request needs, and the one it brought."""

from __future__ import annotations

import re
from collections.abc import Sequence

from starlette.datastructures import Headers

from serve.access import Access, is_loopback

OPEN = frozenset(
    {"/v1/health/live", "/v1/health/ready", "/v2/health/live", "/v2/health/ready", "/docs", "/openapi.json"}
)
"""Asked without a key: they tell nothing about adapters."""
ASKING = re.compile(r"/v1/predict|/v1/embeddings|/embed|/v2/repository/index|/v2/models/[^/]+(/versions/[^/]+)?/infer")
"""What is posted without changing anything; every other request that isn't a GET needs an admin key."""
SITE = "/v1/site"
"""What is below it takes an admin key for reading too: it gives whole bundles away."""
READING = frozenset({"GET", "HEAD", "OPTIONS"})


def check_access(access: Access, method: str, path: str, headers: Headers, cors_origins: Sequence[str]) -> None:
    """Let a request through, or raise UnauthorizedError or ForbiddenError."""
    if path in OPEN and method in READING:
        return
    admin = method not in READING and not (method == "POST" and ASKING.fullmatch(path))
    admin = admin or path == SITE or path.startswith(f"{SITE}/")
    access.check(_key(headers), admin=admin, direct=not admin or _direct(headers, cors_origins))


def _key(headers: Headers) -> str | None:
    given = headers.get("authorization", "")
    scheme, _, key = given.partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    return headers.get("x-api-key")


def _direct(headers: Headers, cors_origins: Sequence[str]) -> bool:
    """Whether it came from this machine's own programs: not by a proxy, nor from a browser's page of elsewhere."""
    if "forwarded" in headers or "x-forwarded-for" in headers:
        return False
    origin = headers.get("origin")
    if origin is not None and origin not in cors_origins:
        return False
    host = headers.get("host", "localhost")
    return is_loopback(host if host.endswith("]") else host.rpartition(":")[0] or host)
