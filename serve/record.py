"""Strict reading of a JSON object: wrong types, missing keys and unknown keys are told in one line."""

from __future__ import annotations

import difflib
import re
from typing import Any, TypeVar

from serve.errors import InputError

T = TypeVar("T")

_NAMES: dict[type, str] = {
    str: "a string",
    int: "a whole number",
    float: "a number with a point",
    bool: "true or false",
    dict: "an object",
}
_HEX64 = re.compile(r"[0-9a-f]{64}\Z")


class Record:
    """One JSON object, taken key by key. `where` is the dotted place that errors name."""

    def __init__(self, value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise InputError(f"{where}: must be an object (got {_shown(value)})")
        self.where = where
        self._left: dict[str, Any] = dict(value)
        self._known: list[str] = []

    def place(self, key: str) -> str:
        """The dotted place of a key."""
        return f"{self.where}.{key}"

    def _take(self, key: str) -> Any:
        self._known.append(key)
        if key not in self._left:
            raise InputError(f"{self.place(key)}: missing")
        return self._left.pop(key)

    def get(self, key: str, kind: type[T]) -> T:
        """The value of a key, of exactly this JSON type (true is no number)."""
        value = self._take(key)
        if type(value) is not kind:
            raise InputError(f"{self.place(key)}: must be {_NAMES[kind]} (got {_shown(value)})")
        return value

    def text(self, key: str) -> str:
        """A string that isn't empty."""
        value = self.get(key, str)
        if not value:
            raise InputError(f"{self.place(key)}: must not be empty")
        return value

    def count(self, key: str, least: int = 0) -> int:
        """A whole number of at least `least`."""
        value = self.get(key, int)
        if value < least:
            raise InputError(f"{self.place(key)}: must be at least {least} (got {value})")
        return value

    def choice(self, key: str, options: tuple[str, ...]) -> str:
        """One of a few strings."""
        value = self._take(key)
        if value not in options:
            raise InputError(f"{self.place(key)}: must be one of {', '.join(options)} (got {_shown(value)})")
        return str(value)

    def sha256(self, key: str) -> str:
        """A lower-case hex sha256."""
        value = self.get(key, str)
        if not _HEX64.match(value):
            raise InputError(f"{self.place(key)}: must be 64 lower-case hex digits (got {_shown(value)})")
        return value

    def array(self, key: str) -> list[Any]:
        """A list of anything."""
        value = self._take(key)
        if not isinstance(value, list):
            raise InputError(f"{self.place(key)}: must be a list (got {_shown(value)})")
        return value

    def strings(self, key: str) -> tuple[str, ...]:
        """A list of different strings, none empty."""
        values = self.array(key)
        if not all(isinstance(value, str) and value for value in values):
            raise InputError(f"{self.place(key)}: must be a list of strings, none empty")
        if len(set(values)) != len(values):
            raise InputError(f"{self.place(key)}: must not name anything twice")
        return tuple(values)

    def has(self, key: str) -> bool:
        """Whether a key that may be left out is there."""
        self._known.append(key)
        return key in self._left

    def end(self) -> None:
        """Refuse what was not taken."""
        for key in self._left:
            near = difflib.get_close_matches(key, self._known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(self._known)}"
            raise InputError(f"{self.place(key)}: unknown key; {hint}")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
