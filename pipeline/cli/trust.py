"""`--trust`, as every command has it that takes bundles from elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def trust_option(command: F) -> F:
    """Add `--trust` (as `trust: tuple[Path, ...]`)."""
    return click.option(
        "--trust",
        multiple=True,
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        help="Refuse a bundle unless a public key of this file signed it. Repeatable.",
    )(command)
