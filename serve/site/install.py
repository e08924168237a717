"""From an archive or a folder to a release in its place, complete and checked; it isn't named yet."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from serve import profile
from serve.bundle import Bundle
from serve.delivery import archive as archives
from serve.delivery.keys import read_trusted
from serve.delivery.signature import open_trusted
from serve.manifest import Manifest
from serve.site.carry import carry, fits, later, link_contents
from serve.site.history import Entry
from serve.site.store import Site, copy_bundle


def bring_archive(site: Site, archive: Path, trust: Sequence[Path], max_bytes: int) -> Bundle:
    """Unpack an archive, whole or a delta to the site's releases, among the releases.

    Where `trust` names files of public keys, one of these must have signed it. Raises InputError, TooLarge, SvfitError.
    """
    trusted, files = read_trusted(trust), site.files()
    room = site.room()
    try:
        made = archives.unpack(archive, room / "bundle", trusted=trusted, max_bytes=max_bytes, have=files.get)
        return site.put(made)
    finally:
        shutil.rmtree(room, ignore_errors=True)


def bring_folder(site: Site, bundle: Path, trust: Sequence[Path]) -> Bundle:
    """Copy a bundle's folder among the releases. Raises InputError, SvfitError."""
    opened = open_trusted(bundle, trust)
    room = site.room()
    try:
        return site.put(copy_bundle(opened, room / "bundle"))
    finally:
        shutil.rmtree(room, ignore_errors=True)


def first_release(site: Site, bundle: Path, trust: Sequence[Path]) -> Entry:
    """Make a bundle's folder an empty site's first release. Raises InputError, SvfitError."""
    brought = bring_folder(site, bundle, trust)
    profile.keep(bundle, brought)
    entry = site.entry(brought)
    site.install(entry)
    return entry


def begin_to_carry(site: Site, old: Entry, new: Entry) -> None:
    """Most of what `carry_along` does, so that it takes a moment only. Raises InputError, SvfitError."""
    if fits(*_manifests(site, old, new)):
        link_contents(site.state(old), site.state(new))


def carry_along(site: Site, old: Entry, new: Entry) -> str:
    """Bring the adapters that came later to `old` along to `new`, not named yet; what became of them, "" if none did.

    Raises InputError, SvfitError.
    """
    count = later(site.state(old))
    told = "1 adapter version that came later" if count == 1 else f"{count} adapter versions that came later"
    if fits(*_manifests(site, old, new)):
        carry(site.state(old), site.state(new))  # also what became of the sealed ones: renamed, removed
        return f"{told} came along" if count else ""
    if not count:
        return ""
    return f"{told} stayed with the release before: this one is on another base, or carries other directions"


def _manifests(site: Site, old: Entry, new: Entry) -> tuple[Manifest, Manifest]:
    before, after = (Bundle.open(site.place(entry.release), check=False).manifest for entry in (old, new))
    return before, after
