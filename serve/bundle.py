"""A bundle on disk: sealed by export, opened and checked before anything in it is loaded."""

from __future__ import annotations

import dataclasses
import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from serve.errors import InputError
from serve.files import sha256_file, write_bytes
from serve.manifest import FileEntry, InputSpec, Manifest, manifest_digest

MANIFEST = "manifest.json"
TOKENIZER = "tokenizer.json"
SAMPLES = "samples.json"
SIGNATURE = "signature.json"  # beside the manifest and not listed in it, as it signs it: serve.delivery.signature
STATE = "state"  # folder of a swappable bundle that is not sealed: adapters that came later, serve.adapters.registry
MAX_MANIFEST_BYTES = 4 * 2**20
MAX_SIGNATURE_BYTES = 4096
MAX_FILES = 10_000


@dataclass(frozen=True, slots=True)
class Bundle:
    """An opened bundle: its folder and its manifest."""

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: Path | str, *, check: bool = True) -> Bundle:
        """Read and check a bundle's folder.

        Always checked: the manifest (size, form, version, its own hash), every path, that the files on disk
        are the files listed, and their sizes. `check=False` skips only the hashes of the files.
        Links are refused. External data of a model isn't parsed here (that takes the onnx package):
        onnxruntime reads it beside the model, where all files are listed and hashed, and refuses paths that
        leave that folder; tests/serve/test_external_data.py holds it to that.
        Raises InputError, one line that names the file.
        """
        root = Path(path)
        if not root.is_dir():
            what = "is no folder" if root.exists() else "does not exist"
            hint = "; of an archive `svfit unpack` makes one" if root.is_file() else ""
            raise InputError(f"bundle {root}: {what}; a bundle is a folder with a {MANIFEST}{hint}")
        manifest = _read_manifest(root)
        _check_listing(root, manifest)
        if check:
            for name, entry in sorted(manifest.files.items()):
                if sha256_file(root / name) != entry.sha256:
                    raise InputError(f"bundle {root}: {name} was changed (its sha256 differs from {MANIFEST})")
        return cls(path=root, manifest=manifest)

    def file(self, name: str) -> Path:
        """The path of a listed file. Raises InputError where the manifest doesn't list it."""
        if name not in self.manifest.files:
            raise InputError(f"bundle {self.path}: {name} is not among its files")
        return self.path / name


def seal(folder: Path, manifest: Manifest) -> Manifest:
    """Write manifest.json over a folder's files: sizes and hashes of every other file, then its own hash.

    The same files and manifest give the same bytes. A signature.json that is there stays, and holds only where the
    manifest came out the same. Returns the manifest as written. Raises InputError where the folder or the manifest
    couldn't be opened again.
    """
    entries = {
        name: FileEntry(bytes=size, sha256=sha256_file(folder / name))
        for name, size in sorted(_walk(folder, skip=STATE if manifest.swap else "").items())
        if name not in (MANIFEST, SIGNATURE)
    }
    unsigned = dataclasses.replace(manifest, files=entries, manifest_sha256="").to_dict()
    value = {**unsigned, "manifest_sha256": manifest_digest(unsigned)}
    data = _encode(value)
    if len(data) > MAX_MANIFEST_BYTES:
        raise InputError(f"bundle {folder}: {MANIFEST} would be {len(data)} bytes, over {MAX_MANIFEST_BYTES}")
    sealed = Manifest.from_dict(json.loads(data))
    _check_parts(folder, sealed)
    write_bytes(folder / MANIFEST, data)
    return sealed


def read_json(path: Path, limit: int, named: str) -> Any:
    """Parse a JSON file of at most `limit` bytes; NaN and infinities are refused. Raises InputError."""
    return parse_json(_read_bounded(path, limit, named), named)


def _read_bounded(path: Path, limit: int, named: str) -> bytes:
    try:
        with path.open("rb") as handle:
            data = handle.read(limit + 1)
    except OSError as error:
        raise InputError(f"{named}: can't be read ({error.strerror or error})") from error
    if len(data) > limit:
        raise InputError(f"{named}: larger than {limit} bytes")
    return data


def parse_json(data: bytes, named: str) -> Any:
    """JSON of bytes; NaN and infinities are refused. Raises InputError, one line that begins with `named`."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no JSON")

    try:
        return json.loads(data.decode(), parse_constant=refuse)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise InputError(f"{named}: not valid JSON ({error})") from error


def _encode(value: dict[str, Any]) -> bytes:
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode()


def _read_manifest(root: Path) -> Manifest:
    named = f"bundle {root}: {MANIFEST}"
    path = root / MANIFEST
    if path.is_symlink() or not path.is_file():
        if (root / "bundle" / MANIFEST).is_file():
            raise InputError(f"bundle {root}: is a run's folder; its bundle is {root / 'bundle'}")
        raise InputError(f"{named}: missing, or not a plain file; is this a bundle's folder?")
    return parse_manifest(_read_bounded(path, MAX_MANIFEST_BYTES, named), named)


def parse_manifest(data: bytes, named: str) -> Manifest:
    """A manifest.json's bytes, held to its own hash and to the form that `seal` writes; its paths are safe to join.

    Raises InputError, one line that begins with `named`.
    """
    value = parse_json(data, named)
    manifest = Manifest.from_dict(value, named)
    try:
        written = _encode(value)
    except ValueError as error:  # a number beyond float64, or half a surrogate pair
        raise InputError(f"{named}: holds what JSON can't ({error})") from error
    if manifest_digest(value) != manifest.manifest_sha256:
        raise InputError(f"{named} was changed (its manifest_sha256 differs)")
    if written != data:
        raise InputError(f"{named} was changed (its bytes are not as svfit writes them)")
    for name in manifest.files:
        if not _safe(name) or name in (MANIFEST, SIGNATURE):
            raise InputError(f"{named}: lists {name!r}, which is not a path inside a bundle")
    return manifest


def _safe(name: str) -> bool:
    """Whether a listed name is a plain relative path with forward slashes, the same on every system."""
    parts = name.split("/")
    return (
        bool(name)
        and "\\" not in name
        and ":" not in name
        and all(ord(letter) >= 32 for letter in name)
        and all(part not in ("", ".", "..") for part in parts)
        and str(PurePosixPath(name)) == name
    )


def _check_listing(root: Path, manifest: Manifest) -> None:
    on_disk = _walk(root, skip=STATE if manifest.swap else "")
    on_disk.pop(MANIFEST, None)
    if on_disk.pop(SIGNATURE, 0) > MAX_SIGNATURE_BYTES:
        raise InputError(f"bundle {root}: {SIGNATURE} is larger than {MAX_SIGNATURE_BYTES} bytes")
    for name, entry in sorted(manifest.files.items()):
        if name not in on_disk:
            raise InputError(f"bundle {root}: {name} is missing")
        if on_disk[name] != entry.bytes:
            raise InputError(f"bundle {root}: {name} was changed (it has {on_disk[name]} bytes, not {entry.bytes})")
    for name in sorted(on_disk.keys() - manifest.files.keys()):
        raise InputError(f"bundle {root}: {name} is not listed in {MANIFEST}")
    _check_parts(root, manifest)


def _check_parts(root: Path, manifest: Manifest) -> None:
    """The files that a bundle can't answer without are among those listed."""
    texts = [TOKENIZER] if isinstance(manifest.input, InputSpec) else []
    wanted = [*texts, SAMPLES, *(variant.file for variant in manifest.variants)]
    if manifest.swap is not None:
        wanted += [manifest.swap.weights, manifest.swap.fold, *(head.file for head in manifest.swap.heads)]
        for adapter in manifest.swap.adapters:
            wanted += [f"adapters/{adapter}/{part}" for part in ("adapter.json", "adapter.safetensors")]
    for name in wanted:
        if name not in manifest.files:
            raise InputError(f"bundle {root}: {name} is missing from the files that {MANIFEST} lists")


def _walk(root: Path, skip: str = "") -> dict[str, int]:
    """Every file under a folder as posix path → bytes, but for the folder `skip` in it. Links and special files are
    refused."""
    found: dict[str, int] = {}
    waiting = [""]
    while waiting:
        prefix = waiting.pop()
        try:
            with os.scandir(root / prefix) as entries:
                listed = list(entries)
        except OSError as error:
            raise InputError(f"bundle {root}: {prefix or '.'} can't be listed ({error.strerror})") from error
        for entry in listed:
            name = f"{prefix}{entry.name}"
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode) and name == skip:
                continue
            if stat.S_ISDIR(status.st_mode):
                waiting.append(f"{name}/")
            elif stat.S_ISREG(status.st_mode):
                found[name] = status.st_size
            else:
                raise InputError(f"bundle {root}: {name} is a link or a special file; a bundle has plain files")
            if len(found) > MAX_FILES:
                raise InputError(f"bundle {root}: more than {MAX_FILES} files")
    return found
