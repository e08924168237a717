"""What every command shares: its common options, results to stdout, progress to stderr."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

F = TypeVar("F", bound=Callable[..., Any])

DEBUG_KEY = "svfit.debug"
PLAIN_WIDTH = 160  # columns of a table that goes to a file or a pipe, where rich would assume 80 and cut


def _remember_debug(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value:
        ctx.meta[DEBUG_KEY] = True


def debug_option(command: F) -> F:
    """Add `--debug`, which the command needn't take: whoever prints errors finds it in the context."""
    return click.option(
        "--debug",
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=_remember_debug,
        help="Show the traceback of an error.",
    )(command)


def common_options(command: F) -> F:
    """Add the options of every command: `--json` (as `as_json`), `--quiet` (as `quiet`) and `--debug`."""
    command = debug_option(command)
    command = click.option("--quiet", is_flag=True, help="No progress on stderr.")(command)
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")(command)


def run_options(command: F, folder: str = "Folder of the run. [default: runs/<config name>]") -> F:
    """Add the options of a command that reads a configuration; `folder` is the help of `--output`.

    The argument CONFIG (as `config_path: Path`), `--set` (as `overrides: tuple[str, ...]`), `--output`
    (as `output: Path | None`), and the common options.
    """
    command = common_options(command)
    command = click.option(
        "--output",
        type=click.Path(file_okay=False, path_type=Path),
        metavar="DIR",
        help=folder,
    )(command)
    command = click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="KEY=VALUE",
        help="Override a configuration key, such as train.epochs=5. Repeatable.",
    )(command)
    return click.argument("config_path", metavar="CONFIG.toml", type=click.Path(dir_okay=False, path_type=Path))(
        command
    )


def finite(value: Any) -> Any:
    """The same document with NaN and infinities as None (JSON has no such numbers) and paths as text."""
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def emit(document: Any, *, as_json: bool, render: Callable[[Any], None]) -> None:
    """Print a command's result to stdout: one JSON document, or whatever `render(document)` writes."""
    if as_json:
        import json

        click.echo(json.dumps(finite(document), indent=2, ensure_ascii=False, allow_nan=False))
    else:
        render(document)


def progress_console(quiet: bool = False) -> Console:
    """A rich console on stderr for progress and remarks; silent with `quiet`."""
    from rich.console import Console

    return Console(stderr=True, quiet=quiet, highlight=False, width=_width(sys.stderr.isatty()))


def result_console() -> Console:
    """A rich console on stdout for results; wide where stdout is no terminal, so that no cell is cut."""
    from rich.console import Console

    return Console(highlight=False, width=_width(sys.stdout.isatty()))


def show(*parts: Any) -> None:
    """Print tables and texts to stdout, without the spaces that rich puts at the ends of lines."""
    console = result_console()
    with console.capture() as captured:
        for part in parts:
            console.print(part)
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def progress(console: Console) -> Progress:
    """A progress bar with rate and time left, as a context manager; it shows nothing off a terminal."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text("" if task.speed is None else f"{task.speed:,.1f}/s")

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=console.quiet or not console.is_terminal,
    )


@contextmanager
def counter(what: str, quiet: bool = False) -> Iterator[Callable[[int], None]]:
    """Call what it gives with how many more are done: a bar on stderr. Where none would be seen, none is imported."""
    if quiet or not sys.stderr.isatty():
        yield lambda _: None
        return
    with progress(progress_console()) as bar:
        task = bar.add_task(what, total=None)
        yield lambda count: bar.update(task, advance=count)


def _width(terminal: bool) -> int | None:
    return None if terminal else PLAIN_WIDTH
