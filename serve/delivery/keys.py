"""Ed25519 keys in files: the private one in PEM, for whoever signs; the public one in a line of text, for others."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from serve.errors import Conflict, InputError, UsageError
from serve.tensors import read_bounded

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

KIND = "svfit-ed25519"
KEY_BYTES = 32
MAX_COMMENT = 200
MAX_FILE_BYTES = 64 * 2**10


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key: `id` (the first 16 hex digits of its sha256), its 32 bytes, and what was noted beside it."""

    id: str
    raw: bytes
    comment: str = ""

    @property
    def line(self) -> str:
        """The key as its file has it, without the end of the line."""
        return " ".join(filter(None, (KIND, base64.b64encode(self.raw).decode(), self.comment)))


def new_key(private: Path, public: Path, comment: str = "") -> str:
    """Make a pair of keys and write both files, the private one for its owner's eyes only; returns their id.

    `comment` is one line, told wherever the key is. Raises Conflict where a file is there already, UsageError for
    one file, InputError for a comment that can't be, OSError.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    comment = " ".join(comment.split())
    if len(comment) > MAX_COMMENT or not comment.isprintable():
        raise InputError(f"a key's comment is at most {MAX_COMMENT} characters that can be shown")
    if private.absolute() == public.absolute():
        raise UsageError(f"{private}: can't hold the private and the public key; name two files")
    for path in (private, public):
        if path.exists() or path.is_symlink():
            raise Conflict(f"{path}: is there already, and a key is never overwritten; choose another name")
    key = Ed25519PrivateKey.generate()
    made = public_of(key, comment)
    _create(private, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600)
    try:
        _create(public, f"{made.line}\n".encode(), 0o644)
    except BaseException:
        private.unlink(missing_ok=True)
        raise
    return made.id


def read_private(path: Path) -> Ed25519PrivateKey:
    """A private key's file. Raises InputError where it is none, or needs a password."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    data = read_bounded(path, MAX_FILE_BYTES, str(path))
    try:
        key = load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:  # TypeError: it needs a password
        hint = "the public key; the private one is wanted" if data.startswith(KIND.encode()) else "not one in PEM"
        hint = "locked with a password" if isinstance(error, TypeError) else hint
        raise InputError(f"{path}: is no private key to sign with ({hint}); `svfit keys new` makes one") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(f"{path}: is a key of another kind; svfit signs with ed25519: `svfit keys new` makes one")
    return key


def public_of(private: Ed25519PrivateKey, comment: str = "") -> PublicKey:
    """The public half of a private key."""
    return _public(private.public_key().public_bytes_raw(), comment)


def read_public(path: Path) -> PublicKey:
    """A file with one public key. Raises InputError."""
    keys = read_trusted([path])
    if len(keys) != 1:
        raise InputError(f"{path}: holds {len(keys)} public keys; one is wanted")
    return keys[0]


def read_trusted(paths: Iterable[Path]) -> tuple[PublicKey, ...]:
    """The public keys of these files, each once, in their order.

    A file holds a key a line; empty lines and those that begin with # don't count. Raises InputError that names the
    line, and for a file without a key: trusting nobody by mistake would be told too late.
    """
    found: dict[bytes, PublicKey] = {}
    for path in paths:
        try:
            lines = read_bounded(path, MAX_FILE_BYTES, str(path)).decode().splitlines()
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: is no file of public keys (not text)") from error
        keys = [
            _parsed(line.strip(), f"{path}: line {number}")
            for number, line in enumerate(lines, 1)
            if line.strip() and not line.lstrip().startswith("#")
        ]
        if not keys:
            raise InputError(f"{path}: holds no public key; it wants lines such as: {KIND} BASE64 comment")
        for key in keys:
            found.setdefault(key.raw, key)
    return tuple(found.values())


def _public(raw: bytes, comment: str) -> PublicKey:
    return PublicKey(hashlib.sha256(raw).hexdigest()[:16], raw, comment)


def _parsed(line: str, where: str) -> PublicKey:
    if "PRIVATE KEY" in line:
        raise InputError(f"{where}: is a private key, which belongs to whoever signs; the public one is wanted")
    kind, _, rest = line.partition(" ")
    text, _, comment = rest.strip().partition(" ")
    if kind != KIND:
        raise InputError(f"{where}: begins with {kind[:40]!r}; a public key is a line: {KIND} BASE64 comment")
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError:  # binascii.Error is one
        raw = b""
    if len(raw) != KEY_BYTES or base64.b64encode(raw).decode() != text:
        raise InputError(f"{where}: {text[:60]!r} is not the base64 of an ed25519 key, {KEY_BYTES} bytes")
    comment = comment.strip()
    if len(comment) > MAX_COMMENT or not comment.isprintable():
        raise InputError(f"{where}: its comment is over {MAX_COMMENT} characters, or holds what can't be shown")
    return _public(raw, comment)


def _create(path: Path, data: bytes, mode: int) -> None:
    """Write a file that mustn't be there yet, with these permissions from its first byte."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise
