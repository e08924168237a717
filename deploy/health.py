"""Is the server at a URL ready? Exit code 0 or 1, for a container's health check; the standard library alone."""

from __future__ import annotations

import http.client
import ssl
import sys
from urllib.parse import urlsplit


def ready(url: str, seconds: float = 3.0) -> bool:
    """Whether GET /v1/health/ready answers 200. A certificate isn't checked: it is made for another name than this."""
    parts = urlsplit(url)
    if parts.scheme == "https":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            parts.netloc, timeout=seconds, context=context
        )
    else:
        connection = http.client.HTTPConnection(parts.netloc, timeout=seconds)
    try:
        connection.request("GET", "/v1/health/ready")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(0 if ready(sys.argv[1]) else 1)
