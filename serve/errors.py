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


class MissingDependency(SvfitError):  # noqa: N818  (a state of the machine, not a fault)
    """A stage needs a package that isn't installed here."""

    kind = "missing"

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs {package}, which is not installed here; try: pip install 'svfit[{extra}]'")
