"""`svfit releases`: what a server has been delivered, and which of it answers."""

# ruff: noqa: ARG001 - quiet changes nothing where there is no progress

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipeline.cli.output import common_options, emit, show
from pipeline.cli.site import SHORT, client, one_place, server_options


@click.command()
@click.argument("url", metavar="[URL]", required=False)
@click.option(
    "--site", type=click.Path(file_okay=False, path_type=Path), metavar="DIR", help="A site's folder instead."
)
@server_options
@common_options
def releases(
    url: str | None, site: Path | None, key_file: Path | None, ca: Path | None, as_json: bool, quiet: bool
) -> None:
    """List the releases of the server at URL, newest first; those above the current one were rolled back from."""
    one_place(url, site)
    document = _offline(site) if site is not None else client(str(url), key_file, ca).site()
    emit({key: document[key] for key in ("current", "releases")}, as_json=as_json, render=_show)


def _offline(folder: Path) -> dict[str, Any]:
    from serve.site.store import read_history

    history = read_history(folder)
    now = history.now
    releases = [{"release": entry.release, "name": entry.name, "at": entry.at} for entry in history.entries]
    return {"current": "" if now is None else now.release, "releases": releases}


def _show(document: dict[str, Any]) -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for title in ("release", "bundle", "since", ""):
        table.add_column(title)
    for entry in document["releases"]:
        current = "answers" if entry["release"] == document["current"] else ""
        table.add_row(entry["release"][:SHORT], entry["name"], entry["at"], current)
    show(table)
