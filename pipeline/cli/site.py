"""What the commands share that ask a server's site: how it is reached, and how its releases are told."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from serve.site.client import Client

F = TypeVar("F", bound=Callable[..., Any])
SHORT = 12  # digits of a release that a person is shown
LARGEST_KEY_FILE = 2**16


def server_options(command: F) -> F:
    """Add `--key-file` and `--ca` (as `key_file`, `ca`: Path | None)."""
    command = click.option(
        "--ca",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        help="Certificates to trust, PEM, where the server's is one of your own.",
    )(command)
    return click.option(
        "--key-file",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        help="File with the server's admin key. [default: SVFIT_ADMIN_KEY]",
    )(command)


def one_place(url: str | None, site: Path | None) -> None:
    """Raises UsageError unless either a server or a site's folder is named."""
    from serve.errors import UsageError

    if (url is None) == (site is None):
        raise UsageError("name a server's URL, or a site's folder with --site DIR")


def client(url: str, key_file: Path | None, ca: Path | None) -> Client:
    """The server's site. Raises UsageError for a key file or an address that can't be used."""
    from serve.access import ADMIN_KEY
    from serve.site.client import Client

    return Client(url, os.environ.get(ADMIN_KEY) if key_file is None else _key(key_file), ca)


def _key(path: Path) -> str:
    from serve.errors import UsageError
    from serve.tensors import read_bounded

    text = read_bounded(path, LARGEST_KEY_FILE, str(path)).decode("utf-8-sig", "replace")
    keys = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if len(keys) != 1 or not keys[0].isascii() or not keys[0].isprintable():
        raise UsageError(f"{path}: must hold one key, on a line of its own")
    return keys[0]


def show_change(document: Mapping[str, Any]) -> None:
    """Tell which release answers now."""
    current, before = document["current"], document["before"]
    if not document["changed"]:
        click.echo(f"current   {told(current)}, as before")
        return
    click.echo(f"current   {told(current)}")
    click.echo(f"before    {told(before)}")
    if document.get("remark"):
        click.echo(f"adapters  {document['remark']}")


def told(release: Mapping[str, Any]) -> str:
    """A release in a few words."""
    return f"{release['name']} {release['release'][:SHORT]} of {release['at']}"
