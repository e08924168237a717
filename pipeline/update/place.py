"""Where the new version goes: a new folder, never one that is there, never into a bundle."""

from __future__ import annotations

import re
from pathlib import Path

from pipeline.update.parent import Parent
from pipeline.update.wish import Wish
from serve.bundle import MANIFEST
from serve.errors import UsageError


def place_for(parent: Parent, wish: Wish) -> Path:
    """`--out`, or the old name with `-v<version>` beside the old folder (in the current one for a bundle's adapter).

    Raises `UsageError` where something is there already, or the place lies in a bundle.
    """
    out = wish.out or _default(parent)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} exists already and holds something; name a new folder with --out")
    resolved = out.resolve()
    inside = next((above for above in resolved.parents if (above / MANIFEST).is_file()), None)
    if inside is not None:
        raise UsageError(f"{out} is in the bundle {inside}, which would no longer be what its manifest says")
    if parent.run is not None and not re.fullmatch(r"[\w.-]+", resolved.name):
        raise UsageError(f"{out}: a run's folder names its configuration; use letters, digits, - and _ only")
    return out


def _default(parent: Parent) -> Path:
    folder = (parent.run or parent.folder).resolve()
    stem = re.sub(r"-v\d+$", "", folder.name)
    named = f"{stem}-v{parent.version + 1}"
    if parent.bundle is not None and parent.run is None:
        return Path(named)
    given = parent.run or parent.folder
    return (given.parent if given.name not in ("", "..") else folder.parent) / named
