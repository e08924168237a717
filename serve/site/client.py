"""The other end of /v1/site: what a server has, a release sent to it, and one fetched from it."""

from __future__ import annotations

import http.client
import json
import ssl
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from serve.bundle import Bundle
from serve.delivery import archive as archives
from serve.delivery.keys import PublicKey
from serve.errors import Conflict, InputError, SvfitError, UsageError

BLOCK = 2**18
LARGEST_DOCUMENT = 64 * 2**20
SECONDS = 600.0  # that a server may take to install a release, and a packet to arrive
Progress = Callable[[int], None]
"""Told of bytes that went over the wire."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What a push sent: bytes over the wire, of the bytes that the whole bundle has; and the server's answer."""

    bytes: int
    whole: int
    files: int
    answer: dict[str, Any]


class Client:
    """A server's site. Every method raises SvfitError: not reached, or what the server says, in its words."""

    def __init__(self, url: str, key: str | None = None, authority: Path | None = None) -> None:
        """`url` is the server's, `key` its admin key; `authority` has certificates to trust besides the system's.

        Raises UsageError.
        """
        parts = urlsplit(url if "://" in url else f"http://{url}")
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.username:
            raise UsageError(f"{url}: is no address of a server, such as http://localhost:8080")
        try:
            self._port = parts.port
        except ValueError as error:
            raise UsageError(f"{url}: {error}") from error
        self._url, self._host, self._prefix = url, parts.hostname, parts.path.rstrip("/")
        self._headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self._tls: ssl.SSLContext | None = None
        if parts.scheme == "https":
            try:
                self._tls = ssl.create_default_context(cafile=authority)
            except (OSError, ValueError) as error:
                raise UsageError(f"{authority}: can't be used as certificates ({error})") from error

    def site(self) -> dict[str, Any]:
        """What `GET /v1/site` tells."""
        return self._document("GET", "/v1/site")

    def roll_back(self) -> dict[str, Any]:
        """Make the release before answer; what the server says of it."""
        return self._document("POST", "/v1/site/rollback")

    def push(self, bundle: Path, *, whole: bool = False, sent: Progress = lambda _: None) -> Sent:
        """Send a bundle's folder, without the files that the site has unless `whole`, and wait until it answers."""
        opened = Bundle.open(bundle, check=False)
        there: Sequence[str] = () if whole else self.site()["files"]
        with tempfile.TemporaryDirectory(prefix="svfit-push-") as name:
            packed = archives.pack(bundle, Path(name) / "release.zip", without=there)
            answer = self._document("PUT", "/v1/site/releases", packed.path, sent)
        size = sum(file.bytes for file in opened.manifest.files.values())
        return Sent(packed.bytes, size, packed.files, answer)

    def pull(
        self,
        out: Path,
        *,
        trusted: Sequence[PublicKey] = (),
        max_bytes: int = archives.DEFAULT_MAX_BYTES,
        received: Progress = lambda _: None,
    ) -> Bundle:
        """Fetch the current release to the folder `out`, complete and checked, or not at all.

        Where keys are `trusted`, one of them must have signed it. Raises also InputError, TooLarge, Conflict (`out`).
        """
        if out.exists() or out.is_symlink():
            raise Conflict(f"{out}: is there already; a release is put into a new folder")
        with tempfile.TemporaryDirectory(prefix="svfit-pull-") as name:
            place = Path(name) / "release.zip"
            with self._asked("GET", "/v1/site/archive") as response, place.open("wb") as handle:
                size = 0
                while data := response.read(BLOCK):
                    size += len(data)
                    if size > max_bytes:
                        raise InputError(f"{self._url}: sends more than the {max_bytes} bytes that a release may have")
                    handle.write(data)
                    received(len(data))
                if response.length:  # http.client ends quietly where a connection does
                    raise SvfitError(f"{self._url}: ended before the release was whole; try again")
            return archives.unpack(place, out, trusted=trusted, max_bytes=max_bytes)

    def _document(
        self, method: str, path: str, body: Path | None = None, sent: Progress = lambda _: None
    ) -> dict[str, Any]:
        with self._asked(method, path, body, sent) as response:
            data = response.read(LARGEST_DOCUMENT)
        try:
            document: dict[str, Any] = json.loads(data)
        except ValueError as error:
            raise SvfitError(f"{self._url}: answers {path} with what is no JSON; is it svfit's server?") from error
        return document

    @contextmanager
    def _asked(
        self, method: str, path: str, body: Path | None = None, sent: Progress = lambda _: None
    ) -> Iterator[http.client.HTTPResponse]:
        """A request and its answer, which is one of success."""
        connection = self._connection()
        try:
            try:
                self._send(connection, method, path, body, sent)
                response = connection.getresponse()
            except OSError as error:
                raise self._unreached(error) from error
            with response:
                if response.status >= 300:
                    raise SvfitError(f"{self._url} says: {_refusal(path, response)}")
                yield response
        except (ConnectionError, TimeoutError, http.client.HTTPException) as error:
            raise self._unreached(error) from error
        finally:
            connection.close()

    def _unreached(self, error: Exception) -> SvfitError:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return SvfitError(f"{self._url}: can't be asked ({reason}); is a server running there?")

    def _connection(self) -> http.client.HTTPConnection:
        if self._tls is None:
            return http.client.HTTPConnection(self._host, self._port, timeout=SECONDS)
        return http.client.HTTPSConnection(self._host, self._port, timeout=SECONDS, context=self._tls)

    def _send(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: Path | None, sent: Progress
    ) -> None:
        size = 0 if body is None else body.stat().st_size
        extra: Mapping[str, str] = {} if body is None else {"Content-Type": "application/zip"}
        connection.putrequest(method, f"{self._prefix}{path}")
        for name, value in {**self._headers, **extra, "Content-Length": str(size)}.items():
            connection.putheader(name, value)
        connection.endheaders()
        if body is None:
            return
        with body.open("rb") as handle:
            while data := handle.read(BLOCK):
                try:
                    connection.send(data)
                except (BrokenPipeError, ConnectionResetError):  # it has refused already: what does it say?
                    return
                sent(len(data))


def _refusal(path: str, response: http.client.HTTPResponse) -> str:
    try:
        return str(json.loads(response.read(2**16))["error"])
    except (ValueError, KeyError, TypeError):
        return f"{response.status} {response.reason} for {path}"
