"""Keys of the adapter that exclude each other."""

from __future__ import annotations

from collections.abc import Mapping

from .problems import shown
from .schema import AdapterSection, ExportSection, Section


def conflicts(sections: Mapping[str, Section]) -> list[tuple[str, str]]:
    """Each contradiction between keys as (key, what is wrong)."""
    adapter, export = sections.get("adapter"), sections.get("export")
    if not isinstance(adapter, AdapterSection):
        return []
    found: list[tuple[str, str]] = []
    core, auto = adapter.core, adapter.rank == "auto"
    if core == "dense" and "full" in (adapter.rank.values() if isinstance(adapter.rank, dict) else [adapter.rank]):
        problem = 'a dense core trains rank × rank values a layer, at "full" up to as many as the weight has; '
        found.append(("adapter.rank", f'{problem}use a number such as 16, or "auto" (got {shown(adapter.rank)})'))
    if adapter.bands and core != "banded":
        found.append(("adapter.bands", f'needs adapter.core = "banded", which is {shown(core)} (got {adapter.bands})'))
    if not auto and adapter.budget:
        rank = f'needs adapter.rank = "auto", which is {shown(adapter.rank)}'
        found.append(("adapter.budget", f"{rank} (got {adapter.budget})"))
    if core != "diagonal" and isinstance(export, ExportSection) and export.mode == "swappable":
        problem = 'a swappable graph only carries diagonal cores; use export.mode = "merged", or train a diagonal core'
        found.append(("adapter.core", f"{problem} (got {shown(core)})"))
    if adapter.onto is not None:
        graph = "adapter.onto decides it: the directions that its graph carries, each scaled"
        found += [
            (f"adapter.{key}", f"{graph} (got {shown(value)})")
            for key, value, free in (
                ("core", core, "diagonal"),
                ("rank", adapter.rank, "full"),
                ("keep", adapter.keep, 1.0),
            )
            if value != free
        ]
    return found
