"""Keep learning: a new version of an adapter from new labelled rows, from where the last one stopped."""

from __future__ import annotations

from pipeline.update.update import update
from pipeline.update.wish import Wish

__all__ = ["Wish", "update"]
