"""signature.json: who answers for a bundle. It signs the manifest's hash, and the manifest has every file's."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serve.bundle import MAX_SIGNATURE_BYTES, SIGNATURE, Bundle, parse_json
from serve.delivery.keys import PublicKey, public_of, read_trusted
from serve.errors import InputError
from serve.files import write_bytes
from serve.manifest import Manifest
from serve.record import Record
from serve.tensors import read_bounded

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

FORMAT, FORMAT_VERSION, ALGORITHM = "svfit-signature", 1, "ed25519"
SIGNED = b"svfit-bundle-v1\0"
SIGNATURE_BYTES = 64
_KEY_ID = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class Signature:
    """What signature.json says: the id of the key, and 64 bytes. Nothing is proven until `hold` has passed."""

    key: str
    raw: bytes

    @classmethod
    def parse(cls, data: bytes, named: str) -> Signature:
        """Read signature.json, which has one form only. Raises InputError, one line that begins with `named`."""
        record = Record(parse_json(data, named), named)
        record.choice("format", (FORMAT,))
        version = record.count("format_version", 1)
        if version != FORMAT_VERSION:
            raise InputError(f"{named}: signature format {version}, this svfit reads {FORMAT_VERSION}")
        record.choice("algorithm", (ALGORITHM,))
        key, text = record.text("key"), record.text("signature")
        record.end()
        if not _KEY_ID.fullmatch(key):
            raise InputError(f"{record.place('key')}: must be 16 lower-case hex digits (got {key[:40]!r})")
        try:
            raw = base64.b64decode(text, validate=True)
        except ValueError:  # binascii.Error is one
            raw = b""
        if len(raw) != SIGNATURE_BYTES:
            raise InputError(f"{record.place('signature')}: must be the base64 of {SIGNATURE_BYTES} bytes")
        signature = cls(key, raw)
        if signature.encoded() != data:
            raise InputError(f"{named} was changed (its bytes are not as svfit writes them)")
        return signature

    def encoded(self) -> bytes:
        """The bytes of signature.json."""
        value: dict[str, Any] = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "algorithm": ALGORITHM,
            "key": self.key,
            "signature": base64.b64encode(self.raw).decode(),
        }
        return f"{json.dumps(value, indent=2, sort_keys=True)}\n".encode()


def sign(bundle: Path, private: Ed25519PrivateKey) -> str:
    """Check a bundle's folder, then write its signature.json; returns the key's id. Raises InputError.

    The same bundle and key give the same bytes.
    """
    opened = Bundle.open(bundle)
    key = public_of(private)
    signature = Signature(key.id, private.sign(_message(opened.manifest)))
    write_bytes(bundle / SIGNATURE, signature.encoded())
    return key.id


def read(folder: Path) -> Signature | None:
    """What a bundle's folder says of who signed it, unproven; None where nobody did. Raises InputError."""
    path = folder / SIGNATURE
    if not path.is_symlink() and not path.exists():
        return None
    named = f"bundle {folder}: {SIGNATURE}"
    if path.is_symlink():
        raise InputError(f"{named}: is a link; a bundle has plain files")
    return Signature.parse(read_bounded(path, MAX_SIGNATURE_BYTES, named), named)


def check(bundle: Bundle, trusted: Sequence[PublicKey]) -> str:
    """The id of the trusted key that signed an opened bundle.

    It holds for what the manifest lists, so for files whose hashes were checked when it was opened; not for adapters
    that came later, in a bundle's state folder. Raises InputError: unsigned, an unknown key, a signature that is
    wrong.
    """
    return hold(read(bundle.path), bundle.manifest, trusted, f"bundle {bundle.path}")


def hold(signature: Signature | None, manifest: Manifest, trusted: Sequence[PublicKey], named: str) -> str:
    """The id of the trusted key behind a signature of this manifest. Raises InputError that begins with `named`."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    told = ", ".join(" ".join(filter(None, (key.id, key.comment))) for key in trusted) or "none"
    if signature is None:
        raise InputError(f"{named}: isn't signed, and only bundles signed by a trusted key are taken (trusted: {told})")
    candidates = [key for key in trusted if key.id == signature.key]
    if not candidates:
        raise InputError(f"{named}: is signed by key {signature.key}, which isn't trusted (trusted: {told})")
    for key in candidates:
        try:
            Ed25519PublicKey.from_public_bytes(key.raw).verify(signature.raw, _message(manifest))
        except (InvalidSignature, ValueError):
            continue
        return key.id
    raise InputError(
        f"{named}: its signature is wrong: it isn't that of key {signature.key} for this {manifest.name!r};"
        " the bundle was changed after signing, or the signature belongs to another"
    )


def open_trusted(path: Path | str, trust: Sequence[Path]) -> Bundle:
    """Open and check a bundle; where `trust` names files of public keys, one of these must have signed it.

    Raises InputError.
    """
    trusted = read_trusted(trust)
    bundle = Bundle.open(path)
    if trust:
        check(bundle, trusted)
    return bundle


def _message(manifest: Manifest) -> bytes:
    return SIGNED + manifest.manifest_sha256.encode("ascii")
