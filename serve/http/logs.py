"""The server's log on stderr, a line for each request or event: JSON for machines, or text. Never what was asked."""

from __future__ import annotations

import datetime
import json
import logging
import sys
import time
from typing import Any, Literal, TextIO

from serve.http.exchange import Exchange

Form = Literal["json", "text", "none"]
MOST_ADAPTERS = 8  # named in a line; the rest is counted
LONGEST_PATH = 200
QUIET = frozenset({"/v1/health/live", "/v1/health/ready", "/v2/health/live", "/v2/health/ready", "/metrics"})
"""Asked every few seconds by machines: told only where the answer is an error they don't expect."""


class Log:
    """Writes lines; `form` none writes only warnings and errors, as text."""

    def __init__(self, form: Form = "json", stream: TextIO | None = None) -> None:
        self.form = form
        self._stream = stream or sys.stderr

    def request(self, exchange: Exchange) -> None:
        """One answered request."""
        if self.form == "none" or (exchange.path in QUIET and exchange.status in (200, 503)):
            return
        told: dict[str, Any] = {
            "id": exchange.id,
            "method": exchange.method,
            "path": exchange.path[:LONGEST_PATH],
            "status": exchange.status,
            "ms": round((time.perf_counter() - exchange.began) * 1000, 2),
        }
        if exchange.rows:
            told["rows"] = exchange.rows
            told["adapters"] = list(exchange.adapters)[:MOST_ADAPTERS]
            if len(exchange.adapters) > MOST_ADAPTERS:
                told["more_adapters"] = len(exchange.adapters) - MOST_ADAPTERS
        self._write("info", "request", told)

    def event(self, message: str, level: str = "info", **told: Any) -> None:
        """Something that happened to the server itself."""
        if self.form != "none" or level in ("warning", "error"):
            self._write(level, message, told)

    def _write(self, level: str, message: str, told: dict[str, Any]) -> None:
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        if self.form == "json":
            line = json.dumps({"at": now, "level": level, "event": message, **told}, ensure_ascii=False, default=str)
        else:
            parts = [str(value) if key == "trace" else f"{key}={json.dumps(value)}" for key, value in told.items()]
            line = " ".join([now, level, message, *parts])
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):  # nobody reads it any more
            return


class LogHandler(logging.Handler):
    """Passes what libraries log (warnings and worse) on to a Log."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record as an event."""
        told = {"trace": self.format(record)} if record.exc_info else {}
        level = "error" if record.levelno >= logging.ERROR else "warning"
        self._log.event(record.getMessage(), level, logger=record.name, **told)
