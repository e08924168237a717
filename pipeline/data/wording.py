"""How names and values appear in one-line messages."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable


def quoted(value: object, limit: int = 60) -> str:
    """A value in double quotes on one line, cut after `limit` characters."""
    text = str(value)
    return json.dumps(text if len(text) <= limit else text[: limit - 1] + "…", ensure_ascii=False)


def listed(names: Iterable[str], limit: int = 12) -> str:
    """Names separated by commas; past `limit` only their number is told."""
    every = list(names)
    shown = ", ".join(quoted(name, 40)[1:-1] for name in every[:limit])
    return f"{shown} and {len(every) - limit} more" if len(every) > limit else shown or "none"


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """` Did you mean "x"?` for the closest name, case aside; else the empty string."""
    folded: dict[str, str] = {}
    for other in names:
        folded.setdefault(other.casefold(), other)
    close = difflib.get_close_matches(name.casefold(), list(folded), n=1, cutoff=0.6)
    return f" Did you mean {quoted(folded[close[0]])}?" if close else ""
