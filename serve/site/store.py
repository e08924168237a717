"""A site's folder: releases beside one another, and one file that names the current one.

    DIR/site.json                names the releases, newest first, and which is current; replaced whole
    DIR/releases/<sha256>/       a bundle, by its manifest_sha256
    DIR/states/<id>/             adapters that came later to one installed release
    DIR/incoming/                what is on its way; nothing in it counts
    DIR/lock                     held by the server

A release is complete and on the disk before site.json names it, and is removed after site.json has stopped naming it.
So whatever moment the power goes, the site is the one before or the one after; what a killed process left besides is
swept away by the next one.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from serve.bundle import MANIFEST, SIGNATURE, Bundle
from serve.errors import InputError, NotFound, SvfitError, UsageError
from serve.files import sync_folder, sync_tree, write_json
from serve.site.history import DOCUMENT, Entry, History
from serve.site.lock import LOCK, FolderLock

RELEASES, STATES, INCOMING = "releases", "states", "incoming"


class Site:
    """A site that this process may change; a context manager. Only `files` may run beside another method."""

    def __init__(self, folder: Path, keep: int = 3) -> None:
        """Open a site's folder, made where it isn't there, and sweep what a killed process left.

        `keep` releases stay, the current one among them. Raises Conflict where another process has it, InputError
        where site.json can't be read, SvfitError where the folder can't be written.
        """
        self.folder, self._keep = folder, keep
        if folder.is_dir() and not (folder / DOCUMENT).exists():
            strange = sorted(path.name for path in folder.iterdir() if path.name not in _OWN and path.name[:1] != ".")
            if strange:
                raise UsageError(f"site {folder}: holds {strange[0]} and no {DOCUMENT}; name an empty or a new folder")
        try:
            for name in (RELEASES, STATES, INCOMING):
                (folder / name).mkdir(parents=True, exist_ok=True)
            self._lock = FolderLock(folder)
        except OSError as error:
            raise SvfitError(f"site {folder}: can't be written ({error.strerror or error})") from error
        try:
            sync_folder(folder)
            sync_folder(folder.parent)
            self.history = History.read(folder)
            self.sweep()
            for path in (*self.incoming.iterdir(), *folder.glob(f".{DOCUMENT}.*")):
                _remove(path)
        except BaseException:
            self._lock.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the folder."""
        self._lock.close()

    @property
    def incoming(self) -> Path:
        """Where to put what is on its way."""
        return self.folder / INCOMING

    def place(self, release: str) -> Path:
        """Where a release's bundle is, or would be."""
        return self.folder / RELEASES / release

    def state(self, entry: Entry) -> Path:
        """The folder of an entry's later adapters; it needn't be there."""
        return self.folder / STATES / entry.state

    def files(self) -> dict[str, Path]:
        """The files of all releases that the site names, by sha256. A release whose manifest can't be read has none."""
        found: dict[str, Path] = {}
        for entry in self.history.entries:
            with contextlib.suppress(InputError):
                bundle = Bundle.open(self.place(entry.release), check=False)
                found |= {file.sha256: bundle.path / name for name, file in bundle.manifest.files.items()}
        return found

    def room(self) -> Path:
        """A new, empty folder in `incoming`; whoever asked removes it. Raises SvfitError."""
        fresh = self.incoming / secrets.token_hex(8)
        try:
            fresh.mkdir()
        except OSError as error:
            raise SvfitError(f"site {self.folder}: can't be written ({error.strerror or error})") from error
        return fresh

    def put(self, bundle: Bundle) -> Bundle:
        """Move a complete bundle in `incoming`, which is on the disk, to its place among the releases.

        Where it is there already, whole, that one stays and takes the signature of the new one. Raises SvfitError.
        """
        release = bundle.manifest.manifest_sha256
        place = self.place(release)
        try:
            if place.exists() and _whole(place):
                if (bundle.path / SIGNATURE).exists():
                    (bundle.path / SIGNATURE).replace(place / SIGNATURE)
                    sync_folder(place)
            else:
                if place.exists():
                    place.rename(self.room() / release)
                bundle.path.rename(place)
                sync_folder(place.parent)
        except OSError as error:
            raise SvfitError(f"site {self.folder}: can't be written ({error.strerror or error})") from error
        return Bundle(place, bundle.manifest)

    def entry(self, bundle: Bundle) -> Entry:
        """How a bundle would be named as a release, from now on with a state folder of its own."""
        at = datetime.now(UTC).isoformat(timespec="seconds")
        return Entry(bundle.manifest.manifest_sha256, bundle.manifest.name, at, secrets.token_hex(16))

    def install(self, entry: Entry) -> None:
        """Name a release, which is in its place, the current one: on the disk when it returns. Raises SvfitError."""
        self._write(self.history.installed(entry, self._keep))

    def roll_back(self) -> None:
        """Name the release before the current one. Raises Conflict where there is none, SvfitError."""
        self._write(self.history.rolled_back())

    def sweep(self, spare: Sequence[Entry] = ()) -> None:
        """Remove releases and states that are neither named nor spared. One that can't be removed now is left."""
        entries = (*self.history.entries, *spare)
        named = {RELEASES: {entry.release for entry in entries}, STATES: {entry.state for entry in entries}}
        for folder, names in named.items():
            for path in (self.folder / folder).iterdir():
                if path.name.partition(".")[0] not in names:  # a release's device profile lies beside it
                    _remove(path)

    def _write(self, history: History) -> None:
        try:
            write_json(self.folder / DOCUMENT, history.to_dict())
        except OSError as error:
            raise SvfitError(f"site {self.folder}: can't be written ({error.strerror or error})") from error
        self.history = history
        with contextlib.suppress(OSError):  # it is named: by now nothing may say that it isn't
            sync_folder(self.folder)


_OWN = (DOCUMENT, LOCK, RELEASES, STATES, INCOMING, "lost+found")


def read_history(folder: Path) -> History:
    """What a site has, read beside whichever process holds it. Raises NotFound where there is no site, InputError."""
    if not (folder / DOCUMENT).is_file():
        raise NotFound(f"site {folder}: has no {DOCUMENT}; `svfit serve --site {folder} BUNDLE` makes it one")
    return History.read(folder)


def copy_bundle(bundle: Bundle, fresh: Path) -> Bundle:
    """A bundle's sealed files in another folder, checked there, and on the disk. Raises InputError, SvfitError."""
    names = [MANIFEST, *bundle.manifest.files]
    if (bundle.path / SIGNATURE).exists():
        names.append(SIGNATURE)
    try:
        fresh.mkdir()
        for name in names:
            (fresh / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(bundle.path / name, fresh / name, follow_symlinks=False)
            with (fresh / name).open("rb+") as handle:
                os.fsync(handle.fileno())
        sync_tree(fresh)
    except OSError as error:
        raise SvfitError(f"{bundle.path}: can't be copied to {fresh} ({error.strerror or error})") from error
    return Bundle.open(fresh)


def _whole(place: Path) -> bool:
    try:
        Bundle.open(place)
    except InputError:
        return False
    return True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()
