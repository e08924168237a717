"""`svfit pull`: the bundle that a server answers with, into a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipeline.cli.output import common_options, counter, emit
from pipeline.cli.site import SHORT, client, server_options
from pipeline.cli.summary import size
from pipeline.cli.trust import trust_option


@click.command()
@click.argument("url", metavar="URL")
@click.argument("out", metavar="DIR", type=click.Path(path_type=Path))
@trust_option
@server_options
@common_options
def pull(
    url: str,
    out: Path,
    trust: tuple[Path, ...],
    key_file: Path | None,
    ca: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Fetch the current release of the server at URL to DIR, which mustn't be there yet.

    It is checked while it is unpacked: DIR is whole and right, or isn't there. Adapters that were added later stay
    on the server.
    """
    from serve.delivery.keys import read_trusted

    trusted = read_trusted(trust)
    with counter("bytes received", quiet or as_json) as count:
        bundle = client(url, key_file, ca).pull(out, trusted=trusted, received=count)
    files = bundle.manifest.files
    document = {
        "bundle": bundle.path,
        "name": bundle.manifest.name,
        "release": bundle.manifest.manifest_sha256,
        "files": len(files),
        "bytes": sum(file.bytes for file in files.values()),
    }
    emit(document, as_json=as_json, render=_show)


def _show(document: dict[str, Any]) -> None:
    what = f"{document['name']} {document['release'][:SHORT]}"
    click.echo(f"{document['bundle']}: {what}, {document['files']} files, {size(document['bytes'])}")
