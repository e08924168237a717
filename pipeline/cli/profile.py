"""`--profile`, as every command has it that answers from a bundle by what `svfit tune` found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def profile_option(command: F) -> F:
    """Add `--profile` (as `profile: Path | Literal["none"] | None`, what `serve.profile.find` takes)."""
    return click.option(
        "--profile",
        type=click.Path(dir_okay=False),
        callback=_placed,
        metavar="FILE|none",
        help="Device profile that `svfit tune` wrote; none ignores it. [default: BUNDLE.device.json, if there]",
    )(command)


def _placed(_ctx: click.Context, _param: click.Parameter, value: str | None) -> Path | str | None:
    return value if value is None or value == "none" else Path(value).absolute()
