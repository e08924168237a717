"""Which adapters a bundle has, as they come and go: what a Runtime answers with."""

from __future__ import annotations

import builtins
import contextlib
from collections.abc import Iterable
from pathlib import Path

from serve.adapters.adapter import Files
from serve.adapters.cache import AdapterCache
from serve.adapters.listing import (
    AdapterCard,
    AdapterInfo,
    Pinned,
    merged_adapter,
    merged_info,
    registered_info,
    with_card,
)
from serve.adapters.registry import Registry
from serve.adapters.versions import VersionRecord
from serve.bundle import Bundle
from serve.errors import ClosingError, Conflict, NotFound
from serve.promotion.promote import Promoted, Promoter

Ref = str | Pinned | None
"""Which adapter: "name" (the version that is its default then), "name@3", one pinned before, or the bundle's own."""


class Shelf:
    """The adapters of a bundle. Every method may be called from many threads at once.

    The bundle's own adapter is the default version of the first it was sealed with. A merged bundle has the one
    adapter that is folded into it, and takes no others: adding, removing and the like raise Conflict.
    """

    def __init__(self, bundle: Bundle, state: Path | None, adapters_mb: float, promoter: Promoter) -> None:
        self.bundle = bundle
        self._cache = AdapterCache(int(adapters_mb * 2**20))
        self._promoter = promoter
        self._registry: Registry | None = None
        if bundle.manifest.swap is None:
            self._merged = merged_adapter(bundle.manifest)
        else:
            self._registry = Registry(bundle, state)

    def close(self) -> None:
        """Let go of promoted sessions and of the state folder. What runs in other threads is finished."""
        self._promoter.close()
        if self._registry is not None:
            self._registry.close()

    def pin(self, ref: Ref = None) -> Pinned:
        """The version that `ref` means now, loaded, and in memory for as long as whoever asked holds on to it.

        Raises NotFound; InputError where its files were damaged.
        """
        if isinstance(ref, Pinned):
            return ref
        if self._registry is None:
            return self._sole(ref)
        while True:
            record = self._registry.default() if ref is None else self._registry.resolve(ref)
            try:
                return self._loaded(self._registry, record)
            except NotFound:  # it was removed since: what does the name mean now?
                continue

    def list(self) -> builtins.list[AdapterInfo]:
        """Every adapter, sorted by name, as its default version is."""
        if self._registry is None:
            return [merged_info(self._merged, self.bundle.manifest)]
        promoted = {one.name for one in self._promoter.promoted()}
        return [
            self._told(entry.default, entry.versions, promoted=name in promoted)
            for name, entry in self._registry.entries().items()
        ]

    def show(self, ref: str | None = None) -> AdapterCard:
        """One adapter's default version, or the one asked for, with its card. Raises NotFound, InputError."""
        pinned = self.pin(ref)
        if self._registry is None:
            return with_card(merged_info(pinned, self.bundle.manifest), pinned.loaded.card)
        promoted = self._promoter.session_for(pinned.loaded) is not None
        record = self._registry.resolve(pinned.tag)
        return with_card(self._told(record, self._versions(record.name), promoted=promoted), pinned.loaded.card)

    def add(self, source: Path | str | Files, name: str) -> AdapterInfo:
        """Take in an adapter, a folder or the bytes of its two files, as the next version and default of a name.

        It is checked whole first, and on the disk when this returns. Raises InputError, Conflict for a merged bundle.
        """
        return self._pointed(self._swappable().add(name, Path(source) if isinstance(source, str) else source))

    def remove(self, ref: str) -> None:
        """Take out a name with all its versions, or one version that isn't the default of others.

        Requests under way are finished. Raises NotFound, Conflict.
        """
        for record in self._swappable().remove(ref):
            self._cache.discard(record.sha256)
        if "@" not in ref:
            self._promoter.forget(ref)

    def rename(self, old: str, new: str) -> AdapterInfo:
        """Give a name's versions another name. Raises NotFound, InputError, Conflict where there is one."""
        record = self._swappable().rename(old, new)
        self._promoter.rename(old, new)
        return self._pointed(record)

    def set_default(self, name: str, version: int) -> AdapterInfo:
        """Make a version the default of its name. Raises NotFound, Conflict for a merged bundle."""
        return self._pointed(self._swappable().set_default(name, version))

    def rollback(self, name: str) -> AdapterInfo:
        """Make the default of a name what it was before. Raises NotFound; Conflict where there was no other."""
        return self._pointed(self._swappable().rollback(name))

    def promote(self, ref: str, timeout: float = 0.0) -> bool:
        """Give a version a session of its own, as its name's: built in the background, wanted from now on.

        Whether it is there after at most `timeout` seconds. Raises NotFound; UsageError where this variant has no
        such sessions; Conflict for a merged bundle, and where `promote_mb` has no room.
        """
        self._swappable()
        pinned = self.pin(ref)
        self._promoter.promote(pinned.name, pinned.loaded)
        self._promoter.settle(timeout)
        return self._promoter.session_for(pinned.loaded) is not None

    def demote(self, ref: str) -> None:
        """Let a name share the swappable graph again. Raises NotFound, Conflict for a merged bundle."""
        self._promoter.demote(self._swappable().resolve(ref).name)

    def promoted(self) -> builtins.list[Promoted]:
        """The names that have a session of their own now, with its bytes, oldest first."""
        return self._promoter.promoted()

    def _sole(self, ref: str | None) -> Pinned:
        if ref not in (None, self._merged.name, self._merged.tag):
            raise NotFound(f"no adapter {ref!r:.80}; this bundle is merged and has one: {self._merged.tag}")
        return self._merged

    def _swappable(self) -> Registry:
        if self._registry is None:
            raise Conflict(
                f"bundle {self.bundle.path}: is merged, its one adapter {self._merged.tag} stays as it is; for a bundle"
                ' that takes others, export with export.mode = "swappable"'
            )
        return self._registry

    def _loaded(self, registry: Registry, record: VersionRecord) -> Pinned:
        return Pinned(record.name, record.version, self._cache.get(record.sha256, lambda: registry.load(record)))

    def _pointed(self, record: VersionRecord) -> AdapterInfo:
        """What is told of a name whose default is another now. It is in memory before it is asked for, and where the
        name was promoted by wish, the new default takes over (where by its traffic, that decides again)."""
        loaded = self._loaded(self._swappable(), record).loaded
        names = {one.name for one in self._promoter.promoted()}
        if record.name in names and record.name in self._promoter.wanted():
            with contextlib.suppress(ClosingError, Conflict):  # the name was demoted meanwhile
                self._promoter.promote(record.name, loaded)
        promoted = self._promoter.session_for(loaded) is not None
        return self._told(record, self._versions(record.name), promoted=promoted)

    def _versions(self, name: str) -> Iterable[int]:
        return [record.version for record in self._swappable().versions(name)]

    def _told(self, record: VersionRecord, versions: Iterable[int], *, promoted: bool) -> AdapterInfo:
        return registered_info(record, versions, in_memory=record.sha256 in self._cache, promoted=promoted)
