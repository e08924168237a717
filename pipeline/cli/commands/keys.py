"""`svfit keys new` and `show`: the pair of keys that a bundle is signed and trusted by."""

# ruff: noqa: ARG001 - quiet changes nothing where there is no progress

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipeline.cli.output import common_options, emit

path_argument = click.Path(dir_okay=False, path_type=Path)


@click.group()
def keys() -> None:
    """Make and show the ed25519 keys that bundles are signed and trusted by.

    \b
      svfit keys new site.pem                            # site.pem signs, site.pub is for those who trust
      svfit pack runs/tickets/bundle --sign-with site.pem
      svfit serve tickets.bundle --trust site.pub
    """


@keys.command(short_help="Make a pair of keys.")
@click.argument("private", metavar="FILE", type=path_argument)
@click.option("--public", type=path_argument, metavar="FILE", help="The public key. [default: beside it, .pub]")
@click.option("--comment", default="", metavar="TEXT", help="What is told of the key wherever it is met.")
@common_options
def new(private: Path, public: Path | None, comment: str, as_json: bool, quiet: bool) -> None:
    """Write a new private key to FILE, and the public one beside it.

    The private key is readable by its owner alone and has no password: keep it where bundles are made. The public key
    is one line of text; a file for --trust may hold several. A file that is there is never overwritten.
    """
    from serve.delivery.keys import new_key

    beside = public or private.with_suffix(".pub")
    made = {"id": new_key(private, beside, comment), "private": str(private), "public": str(beside)}
    emit(made, as_json=as_json, render=_show_new)


@keys.command(short_help="Show public keys: ids and comments.")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=path_argument)
@common_options
def show(files: tuple[Path, ...], as_json: bool, quiet: bool) -> None:
    """Show the public keys of each FILE, as --trust takes them."""
    from serve.delivery.keys import read_trusted

    listed = [{"id": key.id, "comment": key.comment, "line": key.line} for key in read_trusted(files)]
    emit({"keys": listed}, as_json=as_json, render=_show_keys)


def _show_new(made: dict[str, str]) -> None:
    click.echo(f"key {made['id']}: {made['private']} signs, and stays here; {made['public']} is for those who trust it")


def _show_keys(document: dict[str, Any]) -> None:
    for key in document["keys"]:
        click.echo(f"{key['id']}  {key['comment']}".rstrip())
