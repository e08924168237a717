"""The errors a person can meet. Each carries a kind; the command line and the server map kinds to codes."""

from __future__ import annotations


class SvfitError(Exception):
    """An expected failure, told in one line: what was wrong, what was available, what to try."""

    kind = "failed"


class UsageError(SvfitError):
    """The request itself makes no sense (a wrong option, a wrong configuration)."""

    kind = "usage"


class InputError(SvfitError):
    """What was handed over (a file, a row, a bundle) can't be used."""

    kind = "input"


class GateError(SvfitError):
    """A check on the result failed: parity, accuracy, or a bundle's stored answers."""

    kind = "gate"


class UnmetError(SvfitError):
    """Nothing that was measured keeps every wish; the nearest is named."""

    kind = "unmet"


class NotFound(SvfitError):  # noqa: N818  (an answer to a question, not a fault)
    """What was asked for by name isn't there."""

    kind = "not_found"


class Conflict(SvfitError):  # noqa: N818
    """What was asked for contradicts what is there."""

    kind = "conflict"


class TooLarge(SvfitError):  # noqa: N818
    """A request is over a limit of size; the limit is named."""

    kind = "too_large"


class BusyError(SvfitError):
    """The queue is full; `retry_after` seconds from now it may not be."""

    kind = "busy"

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class DeadlineError(SvfitError):
    """A request's time was over before it was its turn."""

    kind = "deadline"


class ClosingError(SvfitError):
    """The server is stopping and takes nothing new."""

    kind = "closing"


class MissingDependency(SvfitError):  # noqa: N818  (a state of the machine, not a fault)
    """A stage needs a package that isn't installed here."""

    kind = "missing"

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs {package}, which is not installed here; try: pip install 'svfit[{extra}]'")
