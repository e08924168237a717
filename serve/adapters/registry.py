"""The adapters of a swappable bundle, by name and version: those sealed in it, and those that came later."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import TypeVar

from serve.adapters.adapter import DOCUMENT, TENSORS, Files, LoadedAdapter, read_adapter, read_files
from serve.adapters.contents import digest, digest_files
from serve.adapters.store import Changes, Sealed, Store, Writing
from serve.adapters.versions import Entry, VersionRecord, checked_name, split_ref
from serve.bundle import STATE, Bundle
from serve.errors import Conflict, InputError, NotFound, UsageError
from serve.swap import SwapSpec

_SHOWN, _NEAR = 10, 1000  # names that an error lists, and that it searches for one alike

Names = Mapping[str, Entry]
Result = TypeVar("Result")


class Registry:
    """Names, each with versions and one of them the default. Safe to use from many threads and processes at once.

    A write is on the disk when its call returns, and every process sees it from then on; killed at any moment it has
    happened or it hasn't. Sealed adapters are version 1 of their names, or the next version of a name that the
    state has already. Where nothing was ever added, no file is written.
    Every method raises SvfitError where the state folder can't be read or written, BusyError where another process
    doesn't come to an end with its write.
    """

    def __init__(self, bundle: Bundle, state: Path | None = None) -> None:
        """`state` is where adapters are kept that come later; None is the folder `state` of the bundle.

        Raises InputError for a merged bundle, and for sealed adapters that don't fit it; UsageError for a `state`
        elsewhere in the bundle, which would no longer open.
        """
        if state is not None and _within(state, bundle.path) and not _within(state, bundle.path / STATE):
            raise UsageError(
                f"--state {state} is in the bundle, which holds only what was sealed; name a folder elsewhere"
            )
        manifest = bundle.manifest
        if manifest.swap is None:
            raise InputError(
                f'bundle {bundle.path}: is merged and takes no adapters; export with export.mode = "swappable"'
            )
        self._bundle, self._manifest, self._swap = bundle, manifest, manifest.swap
        self._store = Store(bundle.path / STATE if state is None else state, bundle.path)
        self._sealed = _sealed(bundle, manifest.swap)
        self._lock = threading.Lock()
        self._names: dict[str, Entry] = {}
        self._pending: list[Sealed] = []
        self._apply(Changes({origin: Entry() for origin, _ in self._sealed}, frozenset()))
        try:
            self._fresh()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the database. A registry that is used again opens it again."""
        self._store.close()

    def resolve(self, ref: str) -> VersionRecord:
        """`name` (its default version) or `name@version` to what is registered now; microseconds.

        Raises NotFound that says what there is.
        """
        name, version = split_ref(ref)
        entry = self._entry(name)
        return entry.default if version is None else _version(entry, version)

    def default(self) -> VersionRecord:
        """What answers where no adapter is named: the default version of the bundle's first adapter's name.

        Where that adapter was renamed, its new name's. Raises NotFound where it was removed.
        """
        names, first = self._fresh(), self._swap.adapters[0]
        if first in names and names[first].versions:
            return names[first].default
        for entry in dict(names).values():
            if any(record.origin == first for record in entry.versions.values()):
                return entry.default
        raise NotFound(f"the bundle's own adapter {first!r} was removed, so an adapter must be named; {_told(names)}")

    def names(self) -> list[str]:
        """All names, sorted."""
        return list(self.entries())

    def versions(self, name: str) -> list[VersionRecord]:
        """All versions of a name, ascending. Raises NotFound."""
        entry = self._entry(name)
        return [entry.versions[version] for version in sorted(entry.versions)]

    def entries(self) -> dict[str, Entry]:
        """Every name with its versions and its default, sorted by name."""
        return {name: entry for name, entry in sorted(dict(self._fresh()).items()) if entry.versions}

    def load(self, record: VersionRecord) -> LoadedAdapter:
        """Read a version's files whole, hold them to its hash, and to the bundle.

        Raises NotFound where the version was removed since it was resolved, InputError where its files were changed.
        """
        try:
            files = read_files(record.folder, self._swap, f"adapter {record.ref}")
        except InputError:
            self.resolve(record.ref)
            raise
        if digest_files(files) != record.sha256:
            raise InputError(f"adapter {record.ref}: its files in {record.folder} were changed; add it again")
        return read_adapter(files, self._manifest, named=f"adapter {record.ref}")

    def add(self, name: str, source: Path | Files) -> VersionRecord:
        """Register an adapter, a folder or the bytes of its two files, as the next version of a name and its default.

        Raises InputError, before anything is kept, for a name that can't be one and files that don't fit the bundle.
        """
        checked_name(name)
        told = f"adapter {source}" if isinstance(source, Path) else f"adapter {name}"
        files = read_files(source, self._swap, told) if isinstance(source, Path) else source
        about = _about(read_adapter(files, self._manifest, named=told))
        at = datetime.now(UTC).isoformat(timespec="seconds")

        def change(names: Names, writing: Writing) -> VersionRecord:
            sha256 = self._store.contents.put(files)
            old = names.get(name, Entry())
            folder = self._store.contents.root / sha256
            new = old.added(VersionRecord(name, old.last + 1, sha256, None, folder, at, about))
            writing.save(name, old, new)
            return new.default

        return self._write(change)

    def remove(self, ref: str) -> tuple[VersionRecord, ...]:
        """Take back a version, or a whole name with all of them; gives what was removed.

        The number is never given again. Raises NotFound; Conflict for the default version of several.
        """
        name, version = split_ref(ref)

        def change(names: Names, writing: Writing) -> tuple[VersionRecord, ...]:
            old = _present(names, name)
            new = old.restricted(set()) if version is None else old.without(_version(old, version).version)
            writing.save(name, old, new)
            return tuple(record for number, record in sorted(old.versions.items()) if number not in new.versions)

        removed = self._write(change)
        self._store.collect({record.sha256 for record in removed})
        return removed

    def rename(self, old: str, new: str) -> VersionRecord:
        """Give a name's versions another name; gives its default there. Numbers that `new` had once are skipped.

        Raises NotFound, InputError where `new` can't be a name, Conflict where it is one already.
        """
        checked_name(new)

        def change(names: Names, writing: Writing) -> VersionRecord:
            entry, there = _present(names, old), names.get(new, Entry())
            if there.versions:
                raise Conflict(f"adapter {new}: there is one already; remove it first, or choose another name")
            moved = entry.moved(new, there.last)
            writing.save(old, entry, entry.restricted(set()))
            writing.save(new, there, moved)
            return moved.default

        return self._write(change)

    def set_default(self, name: str, version: int) -> VersionRecord:
        """Make a version the default of its name. Raises NotFound."""

        def change(names: Names, writing: Writing) -> VersionRecord:
            old = _present(names, name)
            new = old.pointed(_version(old, version).version)
            writing.save(name, old, new)
            return new.default

        return self._write(change)

    def rollback(self, name: str) -> VersionRecord:
        """Make the default what it was before. Raises NotFound; Conflict where it was never another."""

        def change(names: Names, writing: Writing) -> VersionRecord:
            old = _present(names, name)
            new = old.rolled_back()
            writing.save(name, old, new)
            return new.default

        return self._write(change)

    def _write(self, change: Callable[[Names, Writing], Result]) -> Result:
        """Decide and save in one transaction, on what is there now."""
        with self._store.write() as writing:
            names = self._fresh()
            for origin, sha256 in self._pending:
                entry = names[origin]
                before = {number for number, record in entry.versions.items() if record.sha256 != sha256}
                writing.save(origin, entry.restricted(before), entry)
                writing.take((origin, sha256))
            return change(names, writing)

    def _entry(self, name: str) -> Entry:
        return _present(self._fresh(), name)

    def _fresh(self) -> Names:
        """All names as they are now, those removed too. Other threads change the table: copy it to walk through it."""
        with self._lock:
            changes = self._store.changes()
            if changes is not None:
                self._apply(changes)
            return self._names

    def _apply(self, changes: Changes) -> None:
        self._pending = [sealed for sealed in self._sealed if sealed not in changes.taken]
        for name, entry in changes.entries.items():
            self._names[name] = self._seen(name, entry)

    def _seen(self, name: str, entry: Entry) -> Entry:
        """What is kept of a name, without adapters sealed in another bundle, with those sealed in this one."""
        keep = {
            number
            for number, record in entry.versions.items()
            if record.origin is None or (record.origin, record.sha256) in self._sealed
        }
        entry = entry if len(keep) == len(entry.versions) else entry.restricted(keep)
        for origin, sha256 in self._pending:
            if origin == name:
                folder, about = self._bundle.path / "adapters" / origin, self._sealed[origin, sha256]
                at = self._manifest.created.at
                entry = entry.added(VersionRecord(name, entry.last + 1, sha256, origin, folder, at, about))
        return entry


def _sealed(bundle: Bundle, swap: SwapSpec) -> dict[Sealed, str]:
    """The bundle's own adapters, in its order, each with its summary."""
    found: dict[Sealed, str] = {}
    for origin in swap.adapters:
        checked_name(origin)
        hashes = [bundle.manifest.files[f"adapters/{origin}/{part}"].sha256 for part in (DOCUMENT, TENSORS)]
        loaded = read_adapter(bundle.path / "adapters" / origin, bundle.manifest, named=f"sealed adapter {origin}")
        found[origin, digest(*hashes)] = _about(loaded)
    return found


def _about(loaded: LoadedAdapter) -> str:
    """The summary that is kept of an adapter, JSON."""
    card = {key: value if isinstance(value := loaded.card.get(key), dict) else {} for key in ("metrics", "trained")}
    own = {"task": loaded.task, "labels": loaded.labels, "dropped": loaded.dropped, "head": loaded.head}
    return json.dumps(own | card)


def _present(names: Names, name: str) -> Entry:
    entry = names.get(name)
    if entry is None or not entry.versions:
        raise NotFound(f"no adapter {name[:80]!r}; {_told(names, name)}")
    return entry


def _version(entry: Entry, version: int) -> VersionRecord:
    if version not in entry.versions:
        have = ", ".join(map(str, sorted(entry.versions)[-10:]))
        raise NotFound(f"adapter {entry.default.name}: no version {version}; its last are: {have}")
    return entry.versions[version]


def _told(names: Names, near: str = "") -> str:
    """What there is, in a few words."""
    have = sorted(name for name, entry in dict(names).items() if entry.versions)
    if len(have) <= _SHOWN:
        return f"there are: {', '.join(have)}" if have else "there is none"
    alike = get_close_matches(near[:80], have, n=3) if len(have) <= _NEAR else []
    return f"there are {len(have)}" + (f"; did you mean {' or '.join(alike)}?" if alike else "")


def _within(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())
