"""A bundle in one file, whole or as a delta, and back into a folder: nothing is believed that isn't checked first.

An archive holds manifest.json, then signature.json where the bundle is signed, then the other files by name. So who
answers for it and how large it will be are known before anything else is read, and every byte after that is held to
the manifest's sizes and hashes while it arrives.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import unicodedata
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from serve.bundle import MANIFEST, MAX_FILES, MAX_MANIFEST_BYTES, MAX_SIGNATURE_BYTES, SIGNATURE, Bundle, parse_manifest
from serve.delivery import signature
from serve.delivery.disk import fresh_file, fresh_folder, write_new
from serve.delivery.keys import PublicKey
from serve.delivery.signature import Signature
from serve.delivery.zipform import BLOCK, Entry, ZipReader, table, write_entry
from serve.errors import Conflict, InputError, SvfitError, TooLarge, UsageError
from serve.files import sha256_file, sync_tree
from serve.manifest import FileEntry, Manifest

SUFFIX = ".svfit.zip"
DEFAULT_MAX_BYTES = 16 * 2**30

Have = Callable[[str], Path | None]
"""The place of a file with this sha256, where the receiver has one."""


@dataclass(frozen=True, slots=True)
class Packed:
    """What `pack` wrote: the archive, its size, how many of the bundle's files are in it (manifest.json and
    signature.json aside), the bundle's identity, and the id of the key that signed it, unproven here."""

    path: Path
    bytes: int
    files: int
    manifest_sha256: str
    signed_by: str | None


def suggested(bundle: Path) -> Path:
    """What a bundle's archive is called, unless told: by the manifest's name, in the current folder."""
    name = Bundle.open(bundle, check=False).manifest.name
    return Path("".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name).lstrip(".") + SUFFIX)


def pack(bundle: Path, out: Path, *, without: Collection[str] = ()) -> Packed:
    """Write a bundle's archive, whole or not at all; a file that is there is replaced.

    `without` are sha256 of files that are left out, as the receiver has them. The same bundle gives the same bytes.
    Adapters that came later (the folder state/) aren't sealed and don't travel. Raises InputError where the bundle
    was changed or can't be carried, UsageError for a place inside it, OSError.
    """
    opened = Bundle.open(bundle, check=False)
    _check_alike(opened.manifest.files, f"bundle {bundle}")
    if out.resolve().is_relative_to(bundle.resolve()):
        raise UsageError(f"{out}: is inside the bundle, which then had a file too many; choose another place")
    signed = signature.read(bundle)
    heads = {MANIFEST: (bundle / MANIFEST).read_bytes(), **({SIGNATURE: signed.encoded()} if signed else {})}
    chosen = {name: file for name, file in sorted(opened.manifest.files.items()) if file.sha256 not in without}
    with fresh_file(out) as handle:
        entries = [write_entry(handle, name, io.BytesIO(data), len(data))[0] for name, data in heads.items()]
        for name, file in chosen.items():
            with (bundle / name).open("rb") as stream:
                entry, sha256 = write_entry(handle, name, stream, file.bytes)
            if sha256 != file.sha256:
                raise InputError(f"bundle {bundle}: {name} was changed (its sha256 differs from {MANIFEST})")
            entries.append(entry)
        handle.write(table(entries, handle.tell()))
        size = handle.tell()
    return Packed(out, size, len(chosen), opened.manifest.manifest_sha256, signed.key if signed else None)


def unpack(
    archive: Path,
    out: Path,
    *,
    trusted: Sequence[PublicKey] = (),
    max_bytes: int = DEFAULT_MAX_BYTES,
    have: Have | None = None,
) -> Bundle:
    """Make the folder `out`, which mustn't be there, of an archive: complete, checked and on the disk, or not at all.

    Where keys are `trusted`, one of them must have signed the bundle; that is known before its files are read. A
    bundle of more than `max_bytes` is refused. `have(sha256)` gives a file that a delta leaves out: it is checked, and
    hard-linked where it can be. A process that is killed leaves a folder beside `out` whose name begins with a point.
    Raises InputError (one line that names the archive), TooLarge, Conflict (`out`), SvfitError (the disk).
    """
    named = f"archive {archive}"
    if out.exists() or out.is_symlink():
        raise Conflict(f"{out}: is there already; an archive is unpacked to a new folder")
    with _opened(archive, named) as stream, _disk(out, named):
        reader = ZipReader(stream, named)
        manifest, signed, heads, waiting = _head(reader, named)
        if trusted:
            signature.hold(signed, manifest, trusted, named)
        total = sum(file.bytes for file in manifest.files.values())
        if total > max_bytes:
            raise TooLarge(f"{named}: unpacks to {total} bytes, over the {max_bytes} that it may have")
        with fresh_folder(out) as fresh:
            for name, data in heads.items():
                write_new(fresh / name, iter([data]))
            _files(reader, waiting, manifest, fresh, have, named)
            Bundle.open(fresh, check=False)
            sync_tree(fresh)
    return Bundle(out, manifest)


def read_manifest(archive: Path) -> Manifest:
    """The manifest of an archive, of which nothing else is read. Raises InputError."""
    named = f"archive {archive}"
    with _opened(archive, named) as stream:
        return _first(ZipReader(stream, named), named)[0]


def _first(reader: ZipReader, named: str) -> tuple[Manifest, bytes]:
    entry = reader.head()
    if entry is None or entry.name != MANIFEST:
        raise InputError(f"{named}: doesn't begin with {MANIFEST}; archives are made by `svfit pack`")
    data = _small(reader, entry, MAX_MANIFEST_BYTES, named)
    return parse_manifest(data, f"{named}: {MANIFEST}"), data


def _head(reader: ZipReader, named: str) -> tuple[Manifest, Signature | None, dict[str, bytes], Entry | None]:
    """The manifest, what signature.json says, the bytes of both, and the first entry after them."""
    manifest, data = _first(reader, named)
    _check_alike(manifest.files, named)
    heads, signed = {MANIFEST: data}, None
    entry = reader.head()
    if entry is not None and entry.name == SIGNATURE:
        heads[SIGNATURE] = _small(reader, entry, MAX_SIGNATURE_BYTES, named)
        signed = Signature.parse(heads[SIGNATURE], f"{named}: {SIGNATURE}")
        entry = reader.head()
    return manifest, signed, heads, entry


def _small(reader: ZipReader, entry: Entry, limit: int, named: str) -> bytes:
    if entry.size > limit:
        raise InputError(f"{named}: {entry.name} has {entry.size} bytes, over the {limit} that it may have")
    return b"".join(reader.blocks(entry))


def _files(
    reader: ZipReader, entry: Entry | None, manifest: Manifest, fresh: Path, have: Have | None, named: str
) -> None:
    """Fill the folder: what the archive has from there, in the order of the names, the rest from `have`."""
    last = ""
    arrived: set[str] = set()
    while entry is not None:
        name = entry.name
        if name not in manifest.files:
            raise InputError(f"{named}: holds {name[:80]!r}, which its {MANIFEST} doesn't list")
        if name <= last:
            raise InputError(f"{named}: {name} comes twice or out of order")
        if entry.size != manifest.files[name].bytes:
            raise InputError(
                f"{named}: {name} has {entry.size} bytes, its {MANIFEST} says {manifest.files[name].bytes}"
            )
        if entry.size > shutil.disk_usage(fresh).free:
            raise SvfitError(f"{named}: {name} has {entry.size} bytes, and less is free on the disk of {fresh.parent}")
        if write_new(fresh / name, reader.blocks(entry)) != manifest.files[name].sha256:
            raise InputError(f"{named}: {name} was changed (its sha256 differs from {MANIFEST})")
        arrived.add(name)
        last, entry = name, reader.head()
    reader.finish()
    for name in sorted(manifest.files.keys() - arrived):
        _bring(name, manifest.files[name], fresh, have, named)


def _bring(name: str, file: FileEntry, fresh: Path, have: Have | None, named: str) -> None:
    """A file that the archive leaves out, from what the receiver has."""
    source = None if have is None else have(file.sha256)
    if source is None:
        raise InputError(
            f"{named}: leaves out {name}, which isn't here either; it is a delta for a server that has that file."
            " Pack the bundle whole"
        )
    target = fresh / name
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:  # another disk, or one without hard links
        with source.open("rb") as stream:
            write_new(target, iter(lambda: stream.read(BLOCK), b""))
    if target.is_symlink() or target.stat().st_size != file.bytes or sha256_file(target) != file.sha256:
        raise InputError(f"{named}: leaves out {name}, and {source}, which should be it, was changed")


def _check_alike(names: Collection[str], named: str) -> None:
    """Refuse too many names, some that a system takes for one another, and one that is both a file and a folder."""
    if len(names) > MAX_FILES:
        raise InputError(f"{named}: lists {len(names)} files, over the {MAX_FILES} that a bundle may have")
    folded = {own: own for own in (MANIFEST, SIGNATURE)}
    for name in sorted(names):
        other = folded.setdefault(_folded(name), name)
        if other is not name:
            raise InputError(f"{named}: {other!r} and {name!r} are one name on some systems")
    for name in names:
        for parent in map(str, PurePosixPath(_folded(name)).parents):
            if parent in folded:
                raise InputError(f"{named}: {name!r} is inside {folded[parent]!r}, which is a file")


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


@contextlib.contextmanager
def _opened(archive: Path, named: str) -> Iterator[BinaryIO]:
    if not archive.is_file():
        what = "is a folder; a bundle's folder needs no unpacking" if archive.is_dir() else "is no file"
        raise InputError(f"{named}: {what}")
    try:
        stream = archive.open("rb", buffering=BLOCK)
    except OSError as error:
        raise InputError(f"{named}: can't be read ({error.strerror or error})") from error
    with stream:
        yield stream


@contextlib.contextmanager
def _disk(out: Path, named: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SvfitError(f"{named}: can't be unpacked to {out} ({error.strerror or error})") from error
