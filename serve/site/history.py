"""site.json: which releases a site has and which of them is current. Replacing this file is the switch on disk."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serve.bundle import read_json
from serve.errors import Conflict, InputError
from serve.record import Record

DOCUMENT = "site.json"
FORMAT, FORMAT_VERSION = "svfit-site", 1
MAX_BYTES = 2**20
_STATE = re.compile(r"[0-9a-f]{32}\Z")


@dataclass(frozen=True, slots=True)
class Entry:
    """A release as it was installed: the bundle's `manifest_sha256` and name, when (ISO 8601), and the folder of its
    later adapters."""

    release: str
    name: str
    at: str
    state: str

    @classmethod
    def from_dict(cls, value: Any, where: str) -> Entry:
        record = Record(value, where)
        entry = cls(record.sha256("release"), record.text("name"), record.text("at"), record.text("state"))
        record.end()
        if not _STATE.match(entry.state):
            raise InputError(f"{record.place('state')}: must be 32 lower-case hex digits (got {entry.state[:40]!r})")
        return entry


@dataclass(frozen=True, slots=True)
class History:
    """Releases, newest first; `current` is the place of the one that answers. Those before it were rolled back from."""

    entries: tuple[Entry, ...] = ()
    current: int = 0

    @property
    def now(self) -> Entry | None:
        """The current release; None where there was never one."""
        return self.entries[self.current] if self.entries else None

    def installed(self, entry: Entry, keep: int) -> History:
        """With a new current release, and `keep` of all; those that were rolled back from are dropped."""
        return History((entry, *self.entries[self.current :])[:keep])

    def rolled_back(self) -> History:
        """With the release before as the current one. Raises Conflict where there is none."""
        if self.current + 1 >= len(self.entries):
            raise Conflict("there is no release before this one to go back to; site_keep says how many are kept")
        return dataclasses.replace(self, current=self.current + 1)

    @classmethod
    def read(cls, folder: Path) -> History:
        """What a site's folder says; empty where it says nothing yet. Raises InputError."""
        path = folder / DOCUMENT
        if not path.exists():
            return cls()
        record = Record(read_json(path, MAX_BYTES, str(path)), str(path))
        record.choice("format", (FORMAT,))
        version = record.count("format_version", 1)
        if version != FORMAT_VERSION:
            raise InputError(f"{path}: site format {version}, this svfit reads {FORMAT_VERSION}")
        current, listed = record.count("current"), record.array("releases")
        record.end()
        places = record.place("releases")
        entries = tuple(Entry.from_dict(value, f"{places}[{place}]") for place, value in enumerate(listed))
        if current >= len(entries):
            raise InputError(f"{record.place('current')}: {current}, but {len(entries)} releases are listed")
        return cls(entries, current)

    def to_dict(self) -> dict[str, Any]:
        """What `read` reads."""
        releases = [dataclasses.asdict(entry) for entry in self.entries]
        return {"format": FORMAT, "format_version": FORMAT_VERSION, "current": self.current, "releases": releases}
