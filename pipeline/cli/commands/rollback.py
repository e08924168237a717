"""`svfit rollback`: the release before answers again, on a running server or in a site's folder."""

# ruff: noqa: ARG001 - quiet changes nothing where there is no progress

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipeline.cli.output import common_options, emit
from pipeline.cli.site import client, one_place, server_options, show_change


@click.command()
@click.argument("url", metavar="[URL]", required=False)
@click.option(
    "--site",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="A site's folder instead, while no server runs on it.",
)
@server_options
@common_options
def rollback(
    url: str | None, site: Path | None, key_file: Path | None, ca: Path | None, as_json: bool, quiet: bool
) -> None:
    """Make the server at URL answer with the release before the current one, with the adapters that it had.

    The release is checked as a new one is, and if anything is wrong with it, nothing changes.
    """
    one_place(url, site)
    document = client(url, key_file, ca).roll_back() if url is not None else _offline(site)
    emit(document, as_json=as_json, render=show_change)


def _offline(folder: Path | None) -> dict[str, Any]:
    from dataclasses import asdict

    from serve.bundle import Bundle
    from serve.site.store import Site, read_history

    assert folder is not None  # noqa: S101  (checked by the caller)
    before = read_history(folder)
    with Site(folder, keep=len(before.entries)) as site:
        now = site.history.now
        following = site.history.rolled_back().now
        assert now is not None and following is not None  # noqa: S101  (it has releases)
        Bundle.open(site.place(following.release))
        site.roll_back()
    return {"current": asdict(following), "before": asdict(now), "changed": True, "remark": ""}
