"""Names, versions and which one is the default: the rules, apart from where they are kept."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from serve.errors import Conflict, InputError, NotFound

MAX_HISTORY = 100
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_REF = re.compile(r"(.+?)(?:@([1-9][0-9]{0,8}))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class VersionRecord:
    """One version of an adapter, as registered.

    `sha256` is of its content (`serve.adapters.contents.digest`), `folder` where its files are, `sealed` whether they
    are the bundle's own, and `origin` then the adapter's name in the bundle. `at` is an ISO time.
    """

    name: str
    version: int
    sha256: str
    origin: str | None
    folder: Path
    at: str
    about: str = field(repr=False)

    @property
    def ref(self) -> str:
        """`name@version`."""
        return f"{self.name}@{self.version}"

    @property
    def sealed(self) -> bool:
        return self.origin is not None

    @property
    def summary(self) -> dict[str, Any]:
        """Of its card: task, labels, metrics, trained; and dropped and head, as `serve.adapters.adapter` found them."""
        summary: dict[str, Any] = json.loads(self.about)
        return summary


@dataclass(frozen=True, slots=True)
class Entry:
    """All versions of a name. `last` is the highest ever given, so that none is given twice.

    `defaults` are the versions that were the default, the present one last; every one of them still exists.
    """

    last: int = 0
    versions: Mapping[int, VersionRecord] = field(default_factory=dict)
    defaults: tuple[int, ...] = ()

    @property
    def default(self) -> VersionRecord:
        return self.versions[self.defaults[-1]]

    def added(self, record: VersionRecord) -> Entry:
        """With one more version, which becomes the default."""
        versions = {**self.versions, record.version: record}
        return Entry(max(self.last, record.version), versions, _history((*self.defaults, record.version)))

    def pointed(self, version: int) -> Entry:
        """With another default."""
        return dataclasses.replace(self, defaults=_history((*self.defaults, version)))

    def rolled_back(self) -> Entry:
        """With the default that was before. Raises Conflict where there was none."""
        if len(self.defaults) < 2:
            ref = self.default.ref
            raise Conflict(f"adapter {ref}: no default before it to go back to; name one with a version")
        return dataclasses.replace(self, defaults=self.defaults[:-1])

    def without(self, version: int) -> Entry:
        """Without a version. Raises Conflict for the default of several."""
        if self.default.version == version and len(self.versions) > 1:
            others = ", ".join(str(other) for other in sorted(self.versions) if other != version)
            raise Conflict(
                f"adapter {self.default.ref}: is the default of its name; make another the default first"
                f" (there are: {others}), or remove the whole name"
            )
        return self.restricted({other for other in self.versions if other != version})

    def restricted(self, keep: set[int]) -> Entry:
        """With these versions only; where the default isn't among them, the one before it is, or the newest."""
        versions = {version: record for version, record in self.versions.items() if version in keep}
        defaults = _history(tuple(version for version in self.defaults if version in keep))
        return Entry(self.last, versions, defaults or tuple(sorted(versions)[-1:]))

    def moved(self, name: str, beyond: int) -> Entry:
        """Under another name that has used the versions up to `beyond`: numbered on from there."""
        versions = {
            version + beyond: dataclasses.replace(record, name=name, version=version + beyond)
            for version, record in self.versions.items()
        }
        return Entry(self.last + beyond, versions, tuple(version + beyond for version in self.defaults))


def checked_name(name: str) -> str:
    """The name, where it may be one. Raises InputError."""
    if not _NAME.fullmatch(name):
        raise InputError(
            f"adapter {name[:80]!r}: a name is 1 to 64 letters, digits, dots, dashes and underscores,"
            " a letter or digit first"
        )
    return name


def split_ref(ref: str) -> tuple[str, int | None]:
    """`name` or `name@version` to both. Raises NotFound for what can't be either."""
    found = _REF.fullmatch(ref)
    if found is None or "@" in found[1]:
        raise NotFound(f"adapter {ref[:80]!r}: wanted a name, or name@version with a whole number from 1")
    return found[1], int(found[2]) if found[2] else None


def _history(defaults: tuple[int, ...]) -> tuple[int, ...]:
    """Without repetitions in a row, and not without end."""
    kept = [one for place, one in enumerate(defaults) if place == 0 or defaults[place - 1] != one]
    return tuple(kept[-MAX_HISTORY:])
