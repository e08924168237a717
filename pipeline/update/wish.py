"""What a person asked of an update; the command line fills it in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Wish:
    """`None` is "as the adapter's run had it", or else the default that `learn.py` and `parent.py` say."""

    adapter: Path
    """An adapter's folder, or a run's."""
    data: Path
    validation: Path | None = None
    """Old rows to measure forgetting on."""
    out: Path | None = None
    onto: Path | None = None
    """A swappable bundle whose factors stand in for the cache, and whose directions alone may move."""
    text: tuple[str, ...] = ()
    label: str | None = None
    replay: float | Path | None = None
    """Old rows mixed in: how many for each new one (of a run), or a file of them."""
    new_labels: bool = True
    epochs: int | None = None
    learning_rate: float | None = None
    head_learning_rate: float | None = None
    max_forget: float | None = None
    """Points of the metric that the old validation rows may lose."""
    seed: int | None = None
