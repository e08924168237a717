"""`svfit init`: write a commented configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..output import common_options, emit


@click.command()
@click.argument("name", metavar="NAME")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Training rows (CSV, TSV, JSON lines, Parquet): text and label columns are guessed from them.",
)
@click.option("--force", is_flag=True, help="Overwrite NAME.toml.")
@common_options
def init(name: str, data: Path | None, force: bool, as_json: bool, quiet: bool) -> None:
    """Write NAME.toml, a commented configuration in which every default is visible.

    With --data it names that file, its columns, and the validation and test files that lie beside it.
    """
    from pipeline.config import template
    from pipeline.config.guess import guess
    from serve.errors import UsageError
    from serve.files import write_bytes

    stem = name.removesuffix(".toml")
    path = Path(f"{stem}.toml")
    if not Path(stem).name.strip() or stem.endswith("/") or not stem.isprintable():
        raise UsageError(f"{name!r} is no name for a file; try: svfit init my-task")
    if path.is_dir() or (path.exists() and not force):
        raise UsageError(f"{path} is there already; choose another name, or --force to overwrite it")
    values: dict[str, Any] = {}
    if data is not None:
        found = guess(data)
        values = {"data.train": _relative(data, path), "data.text": found.text, "data.label": found.label}
        if found.task != "auto":
            values["data.task"] = found.task
        if found.validation is not None:
            values["data.validation"] = _relative(found.validation, path)
        if found.test is not None:
            values["data.test"] = _relative(found.test, path)
    write_bytes(path, template(path.stem, values).encode())
    document = {"config": str(path), "guessed": values}

    def render(_document: Any) -> None:
        click.echo(f"wrote {path}")
        for key, value in values.items():
            click.echo(f"  {key} = {value}")
        if not quiet:
            click.echo(f"next: edit [data] in it if need be, then: svfit run {path}", err=True)

    emit(document, as_json=as_json, render=render)


def _relative(file: Path, config: Path) -> str:
    """How the configuration names a file: from its own folder where the file is below it, else absolute."""
    place, folder = file.resolve(), config.absolute().parent.resolve()
    return place.relative_to(folder).as_posix() if place.is_relative_to(folder) else str(place)
