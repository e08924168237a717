"""Bodies too large for memory: put into a file while they arrive, bounded."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path

from starlette.datastructures import Headers

from serve.errors import SvfitError, TooLarge
from serve.http.limits import HungUp, Receive, SlowError

UPLOADS = frozenset({("PUT", "/v1/site/releases")})
"""Method and path of the requests whose bodies are read so."""
NO_SITE = "this server has no site of releases; start it with: svfit serve --site DIR BUNDLE"
BLOCK = 2**20  # bytes that are written at once, in a thread: a disk may make it wait


class Upload:
    """A body in a file. Whoever takes it removes it; else it is removed with the request."""

    def __init__(self, path: Path) -> None:
        self.path, self._taken = path, False

    def take(self) -> Path:
        """The file, now the caller's."""
        self._taken = True
        return self.path

    def discard(self) -> None:
        """Remove it, unless it was taken."""
        if not self._taken:
            self.path.unlink(missing_ok=True)


async def read_upload(receive: Receive, headers: Headers, folder: Path, most_mb: float, seconds: float) -> Upload:
    """The whole body, as a file in `folder`. Each part of it must arrive within `seconds` of the one before.

    Raises TooLarge, before reading where Content-Length tells, else at the limit; SlowError; HungUp; SvfitError where
    it can't be written.
    """
    most = int(most_mb * 2**20)
    declared = headers.get("content-length", "0")
    if declared.isascii() and declared.isdigit() and int(declared) > most:
        raise _too_large(most_mb)
    upload = Upload(folder / f"{secrets.token_hex(8)}.zip")
    try:
        await _write(receive, upload.path, most, most_mb, seconds)
    except BaseException:
        upload.discard()
        raise
    return upload


async def _write(receive: Receive, path: Path, most: int, most_mb: float, seconds: float) -> None:
    size, more, held = 0, True, bytearray()
    try:
        with path.open("xb") as handle:
            while more:
                async with asyncio.timeout(seconds):
                    message = await receive()
                if message["type"] == "http.disconnect":
                    raise HungUp
                held += message.get("body", b"")
                more = message.get("more_body", False)
                if size + len(held) > most:
                    raise _too_large(most_mb)
                if len(held) >= BLOCK or not more:
                    size += len(held)
                    await asyncio.to_thread(handle.write, bytes(held))
                    held.clear()
    except TimeoutError as error:
        raise SlowError(f"nothing of the request's body arrived for {seconds:g} s") from error
    except OSError as error:
        raise SvfitError(f"the body can't be kept ({error.strerror or error})") from error


def _too_large(most_mb: float) -> TooLarge:
    return TooLarge(f"the body is larger than {most_mb:g} MB (site_max_mb)")
