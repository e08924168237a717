"""Names and versions in SQLite: what a write changed is seen whole, by every process, or not at all."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from serve.adapters.contents import Contents
from serve.adapters.versions import Entry, VersionRecord
from serve.errors import BusyError, SvfitError
from serve.files import sync_folder

DATABASE = "registry.sqlite"
ADAPTERS = "adapters"
FORMAT = 1  # SQLite's user_version; 0 is a database that nothing was written to yet
WAIT = 30.0  # seconds that a write waits for another process's

_SCHEMA = """
CREATE TABLE names (name TEXT PRIMARY KEY, last INTEGER NOT NULL, defaults TEXT NOT NULL, revision INTEGER NOT NULL);
CREATE INDEX names_by_revision ON names (revision);
CREATE TABLE versions (
    name TEXT NOT NULL, version INTEGER NOT NULL, sha256 TEXT NOT NULL, origin TEXT, at TEXT NOT NULL,
    about TEXT NOT NULL, PRIMARY KEY (name, version)
) WITHOUT ROWID;
CREATE INDEX versions_by_content ON versions (sha256);
CREATE TABLE sealed (origin TEXT NOT NULL, sha256 TEXT NOT NULL, PRIMARY KEY (origin, sha256));
"""

Sealed = tuple[str, str]
"""An adapter of a bundle: its name there, and the sha256 of its content."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What other writes made of some names, and every sealed adapter that was ever taken in."""

    entries: Mapping[str, Entry]
    taken: frozenset[Sealed]


class Store:
    """The state folder. It is made by the first write; until then there is nothing, and nothing is written.

    Every method may be called from any thread. Raises SvfitError where the folder or its database fails.
    """

    def __init__(self, folder: Path, bundle: Path) -> None:
        self.contents = Contents(folder / ADAPTERS)
        self._folder, self._bundle, self._path = folder, bundle, folder / DATABASE
        self._reading, self._writing = threading.Lock(), threading.Lock()
        self._reader: sqlite3.Connection | None = None
        self._writer: sqlite3.Connection | None = None
        self._seen: int | None = None
        self._revision = 0

    def changes(self) -> Changes | None:
        """What changed since the last call (all there is, at first), or None: a question of microseconds."""
        with self._reading, self._told("read"):
            if self._reader is None:
                if not self._path.exists():
                    return None
                self._reader = self._open_to_read()
            seen = self._reader.execute("PRAGMA data_version").fetchone()[0]
            if seen == self._seen:
                return None
            changes = self._read(self._reader)
            self._seen = seen  # after it was read: a failure is no change seen
            return changes

    @contextmanager
    def write(self) -> Iterator[Writing]:
        """One transaction that no other process's overlaps. What it saved is on the disk when it ends, or nothing is.

        Raises BusyError where another process doesn't come to an end.
        """
        with self._writing, self._told("written"):
            if self._writer is None:
                self._writer = self._open_to_write()
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield Writing(self._writer)
                self._writer.execute("COMMIT")
            finally:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")

    def collect(self, among: set[str]) -> None:
        """Remove content, of these digests, that no version has any more."""
        with self.write() as writing:
            self.contents.collect(writing.used, among)

    def close(self) -> None:
        """Let go of the database; the next call opens it again."""
        with self._writing, self._reading:
            for connection in (self._reader, self._writer):
                if connection is not None:
                    connection.close()
            self._reader = self._writer = self._seen = None
            self._revision = 0

    def _read(self, reader: sqlite3.Connection) -> Changes:
        reader.execute("BEGIN")
        try:
            if not self._usable(reader):
                return Changes({}, frozenset())
            names = reader.execute(
                "SELECT name, last, defaults, revision FROM names WHERE revision > ?", (self._revision,)
            ).fetchall()
            rows = reader.execute(
                "SELECT name, version, sha256, origin, at, about FROM versions"
                " WHERE name IN (SELECT name FROM names WHERE revision > ?)",
                (self._revision,),
            ).fetchall()
            taken = frozenset(reader.execute("SELECT origin, sha256 FROM sealed").fetchall())
        finally:
            reader.execute("COMMIT")
        versions: dict[str, dict[int, VersionRecord]] = {}
        for name, version, sha256, origin, at, about in rows:
            folder = self.contents.root / sha256 if origin is None else self._bundle / ADAPTERS / origin
            record = VersionRecord(name, version, sha256, origin, folder, at, about)
            versions.setdefault(name, {})[version] = record
        self._revision = max((row[3] for row in names), default=self._revision)
        entries = {
            name: Entry(last, versions.get(name, {}), tuple(json.loads(defaults))) for name, last, defaults, _ in names
        }
        return Changes(entries, taken)

    def _usable(self, connection: sqlite3.Connection) -> bool:
        """Whether something was written to the database, by an svfit that this one understands."""
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > FORMAT:
            raise SvfitError(f"{self._path}: of format {version}, this svfit reads {FORMAT}; try a newer svfit")
        return bool(version)

    def _open_to_read(self) -> sqlite3.Connection:
        uri = self._path.absolute().as_uri()
        if os.access(self._folder, os.W_OK) and os.access(self._path, os.W_OK):
            return _connect(f"{uri}?mode=rw")
        log = self._path.with_name(f"{DATABASE}-wal")
        if log.exists() and log.stat().st_size:
            return _connect(f"{uri}?mode=ro")  # reads the log, where another process keeps its index
        return _connect(f"{uri}?mode=ro&immutable=1")

    def _open_to_write(self) -> sqlite3.Connection:
        self.contents.root.mkdir(parents=True, exist_ok=True)
        sync_folder(self._folder)
        sync_folder(self._folder.parent)
        writer = _connect(f"{self._path.absolute().as_uri()}?mode=rwc")
        try:
            _log_ahead(writer)
            writer.execute("PRAGMA synchronous = FULL")
            writer.execute("BEGIN IMMEDIATE")
            if not self._usable(writer):
                for statement in filter(str.strip, _SCHEMA.split(";")):
                    writer.execute(statement)
                writer.execute(f"PRAGMA user_version = {FORMAT}")
            self.contents.collect(Writing(writer).used)
            writer.execute("COMMIT")
        except BaseException:
            writer.close()
            raise
        return writer

    @contextmanager
    def _told(self, verb: str) -> Iterator[None]:
        """SQLite's and the system's errors as one line."""
        try:
            yield
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise BusyError(f"{self._path}: another process has kept it for {WAIT:.0f} s", retry_after=5) from error
            raise SvfitError(f"{self._path}: can't be {verb} ({error})") from error
        except sqlite3.Error as error:
            raise SvfitError(f"{self._path}: can't be {verb} ({error})") from error
        except OSError as error:
            what = f"{self._folder}: can't be {verb} ({error.strerror or error})"
            raise SvfitError(f"{what}; a bundle's adapters can be kept elsewhere with --state DIR") from error


class Writing:
    """An open transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def save(self, name: str, old: Entry, new: Entry) -> None:
        """Replace what is kept of a name."""
        for version in old.versions.keys() - new.versions.keys():
            self._connection.execute("DELETE FROM versions WHERE name = ? AND version = ?", (name, version))
        for version in new.versions.keys() - old.versions.keys():
            record = new.versions[version]
            row = (name, version, record.sha256, record.origin, record.at, record.about)
            self._connection.execute("INSERT INTO versions VALUES (?, ?, ?, ?, ?, ?)", row)
        self._connection.execute(
            "INSERT OR REPLACE INTO names SELECT ?, ?, ?, coalesce(max(revision), 0) + 1 FROM names",
            (name, new.last, json.dumps(new.defaults)),
        )

    def take(self, sealed: Sealed) -> None:
        """Note that a sealed adapter has its version, so that it gets no other, also when that is removed."""
        self._connection.execute("INSERT INTO sealed VALUES (?, ?)", sealed)

    def used(self, sha256: str) -> bool:
        """Whether any version has this content."""
        found = self._connection.execute(
            "SELECT 1 FROM versions WHERE sha256 = ? AND origin IS NULL LIMIT 1", (sha256,)
        )
        return found.fetchone() is not None


def _connect(uri: str) -> sqlite3.Connection:
    return sqlite3.connect(uri, uri=True, timeout=WAIT, isolation_level=None, check_same_thread=False)


def _log_ahead(writer: sqlite3.Connection) -> None:
    """Write-ahead logging. Turning it on doesn't wait for other processes that do it too, so this does."""
    until = time.monotonic() + WAIT
    while True:
        try:
            writer.execute("PRAGMA journal_mode = WAL").fetchone()
            return
        except sqlite3.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(0.01)
