"""What a Runtime hands out of its adapters: one pinned for a request, and what is told of one in a list."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from serve.adapters.adapter import LoadedAdapter
from serve.adapters.versions import VersionRecord
from serve.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Pinned:
    """A version of an adapter as a request began with it; it answers so whatever becomes of its name."""

    name: str
    version: int
    loaded: LoadedAdapter

    @property
    def tag(self) -> str:
        """name@version"""
        return f"{self.name}@{self.version}"


@dataclass(frozen=True, slots=True)
class AdapterInfo:
    """What a list tells of an adapter: its default `version` (or the one asked for), that one's task, labels and
    metrics, and all `versions` that its name has.

    `dropped` is the share of what it learned that this bundle's graph doesn't carry; `sealed`: it came with the
    bundle; `at`: when it was added (ISO 8601, of a sealed one when the bundle was made).
    """

    name: str
    version: int
    versions: tuple[int, ...]
    task: str
    labels: tuple[str, ...]
    metrics: dict[str, Any]
    dropped: float
    sealed: bool
    at: str
    in_memory: bool
    promoted: bool


@dataclass(frozen=True, slots=True)
class AdapterCard(AdapterInfo):
    """The same of one version, and its whole card."""

    card: dict[str, Any]


def merged_adapter(manifest: Manifest) -> Pinned:
    """The one adapter of a merged bundle, whose numbers are in the graph."""
    loaded = LoadedAdapter(
        task=manifest.task,
        labels=manifest.labels,
        sigma=np.zeros(0, dtype=np.float32),
        head="",
        weights={},
        texts=manifest.input.text,
        max_length=None,
        card=manifest.adapter,
        dropped=0.0,
        nbytes=0,
    )
    return Pinned(str(manifest.adapter.get("name", "default")), 1, loaded)


def merged_info(pinned: Pinned, manifest: Manifest) -> AdapterInfo:
    """What there is to tell of it."""
    metrics = pinned.loaded.card.get("metrics")
    return AdapterInfo(
        name=pinned.name,
        version=pinned.version,
        versions=(pinned.version,),
        task=pinned.loaded.task,
        labels=pinned.loaded.labels,
        metrics=metrics if isinstance(metrics, dict) else {},
        dropped=0.0,
        sealed=True,
        at=manifest.created.at,
        in_memory=True,
        promoted=False,
    )


def registered_info(record: VersionRecord, versions: Iterable[int], *, in_memory: bool, promoted: bool) -> AdapterInfo:
    """The same of a registered version, from the summary that the registry keeps; nothing is read from the disk."""
    summary = record.summary
    return AdapterInfo(
        name=record.name,
        version=record.version,
        versions=tuple(sorted(versions)),
        task=summary["task"],
        labels=tuple(summary["labels"]),
        metrics=summary["metrics"],
        dropped=summary["dropped"],
        sealed=record.sealed,
        at=record.at,
        in_memory=in_memory,
        promoted=promoted,
    )


def with_card(info: AdapterInfo, card: dict[str, Any]) -> AdapterCard:
    """The same with its card."""
    return AdapterCard(**{field.name: getattr(info, field.name) for field in fields(info)}, card=card)
