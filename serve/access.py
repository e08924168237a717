"""Who may do what: API keys for answers, admin keys for changes, compared in constant time."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from serve.errors import SvfitError, UsageError

API_KEY, ADMIN_KEY = "SVFIT_API_KEY", "SVFIT_ADMIN_KEY"
LEAST_KEY = 16  # characters; a shorter one could be guessed over the network
LARGEST_KEYS_FILE = 2**20  # bytes


class UnauthorizedError(SvfitError):
    """No key was given, or one that isn't known."""

    kind = "unauthorized"


class ForbiddenError(SvfitError):
    """The key given doesn't go so far."""

    kind = "forbidden"


@dataclass(frozen=True, slots=True, repr=False)
class Access:
    """The keys of a server. Without API keys anyone may ask; without admin keys changes are for loopback only.

    `local` says that the server listens on a loopback address alone.
    """

    api_keys: tuple[bytes, ...] = ()
    admin_keys: tuple[bytes, ...] = ()
    local: bool = True

    def check(self, key: str | None, *, admin: bool, direct: bool = True) -> None:
        """Let a request through, or raise UnauthorizedError or ForbiddenError.

        An admin key may also ask. `direct=False` marks a request that came through a browser's other site or a proxy:
        without an admin key such a one changes nothing, though it comes from this machine.
        """
        if admin and not self.admin_keys:
            if not (self.local and direct):
                raise ForbiddenError(
                    "changing adapters from beyond this machine needs an admin key, and this server has none; "
                    f"start it with {ADMIN_KEY} or admin_keys_file set"
                )
            if not self.api_keys:
                return
        elif not admin and not self.api_keys:
            return
        if not key:
            which = "an admin key" if admin and self.admin_keys else "an API key"
            raise UnauthorizedError(f"this needs {which}; send it as: Authorization: Bearer KEY")
        given = key.encode("utf-8", "surrogateescape")
        is_admin, is_user = _among(given, self.admin_keys), _among(given, self.api_keys)
        if is_admin or (is_user and not (admin and self.admin_keys)):
            return
        if is_user:
            raise ForbiddenError("this key may ask for answers but not change adapters; use an admin key")
        raise UnauthorizedError("this key is not known here")


def load_access(
    host: str, api_keys_file: Path | None, admin_keys_file: Path | None, environment: Mapping[str, str]
) -> Access:
    """The keys of files (one a line, # begins a comment) and environment together. Raises UsageError."""
    return Access(
        _keys(api_keys_file, environment, API_KEY),
        _keys(admin_keys_file, environment, ADMIN_KEY),
        is_loopback(host),
    )


def is_loopback(host: str) -> bool:
    """Whether a host to listen on is this machine's own: localhost, 127.0.0.0/8 or ::1."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _among(given: bytes, keys: Sequence[bytes]) -> bool:
    found = False
    for key in keys:  # all of them, so that the time tells nothing
        found |= hmac.compare_digest(given, key)
    return found


def _keys(path: Path | None, environment: Mapping[str, str], variable: str) -> tuple[bytes, ...]:
    found: dict[bytes, None] = {}
    if path is not None:
        found |= dict.fromkeys(_checked(_read(path), str(path)))
    if variable in environment:
        found |= dict.fromkeys(_checked([environment[variable].strip()], variable))
    return tuple(found)


def _read(path: Path) -> list[str]:
    try:
        with path.open("rb") as handle:
            data = handle.read(LARGEST_KEYS_FILE + 1)
    except OSError as error:
        raise UsageError(f"{path}: can't be read ({error.strerror or error})") from error
    if len(data) > LARGEST_KEYS_FILE:
        raise UsageError(f"{path}: over {LARGEST_KEYS_FILE} bytes is no file of keys")
    try:
        lines = [line.strip() for line in data.decode("utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8; write one key a line") from error
    keys = [line for line in lines if line and not line.startswith("#")]
    if not keys:
        raise UsageError(f"{path}: holds no key; write one a line")
    return keys


def _checked(keys: Iterable[str], source: str) -> list[bytes]:
    keys = list(keys)
    if any(len(key) < LEAST_KEY or not key.isascii() or not key.isprintable() or " " in key for key in keys):
        raise UsageError(f"{source}: a key must have at least {LEAST_KEY} plain ASCII characters and no space")
    return [key.encode() for key in keys]
