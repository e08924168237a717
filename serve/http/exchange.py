"""One request and its answer, as the log and the metrics tell of it."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field

_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}\Z")


@dataclass(slots=True)
class Exchange:
    """`status` is 499 where the client hung up before the answer; `adapters` is rows by name@version."""

    id: str
    method: str
    path: str
    began: float = field(default_factory=time.perf_counter)
    status: int = 0
    rows: int = 0
    adapters: dict[str, int] = field(default_factory=dict)
    finished: bool = False
    gone: bool = False

    def used(self, adapters: Mapping[str, int]) -> None:
        """Note rows that were answered."""
        for tag, rows in adapters.items():
            self.adapters[tag] = self.adapters.get(tag, 0) + rows
            self.rows += rows


CURRENT: ContextVar[Exchange | None] = ContextVar("svfit_exchange", default=None)
"""The exchange that the running task answers, if it answers one."""


def request_id(given: str | None) -> str:
    """The id a client gave, if it is a plain and short one, else a new one."""
    return given if given and _ID.match(given) else secrets.token_hex(8)
