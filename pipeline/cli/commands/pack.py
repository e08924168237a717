"""`svfit pack`: a bundle in one file, signed where a key is given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipeline.cli.output import common_options, emit, progress_console
from pipeline.cli.summary import size


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("out", metavar="[ARCHIVE]", required=False, type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--sign-with",
    "key",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Sign the bundle with this private key first (`svfit keys new`).",
)
@common_options
def pack(bundle: Path, out: Path | None, key: Path | None, as_json: bool, quiet: bool) -> None:
    """Put BUNDLE in one file, a zip, by default NAME.svfit.zip here. The same bundle gives the same bytes.

    A signature is a file of the bundle, signature.json, and stays in its folder. It covers every file that the
    manifest lists. Adapters that were added later don't travel.

    \b
      svfit pack runs/tickets/bundle --sign-with site.pem
      svfit unpack tickets.svfit.zip tickets.bundle --trust site.pub
    """
    from serve.delivery import archive, signature
    from serve.delivery.keys import read_private

    with progress_console(quiet or as_json).status(f"packing {bundle}"):
        if key is not None:
            signature.sign(bundle, read_private(key))
        packed = archive.pack(bundle, out or archive.suggested(bundle))
    document = {
        "archive": packed.path,
        "bytes": packed.bytes,
        "files": packed.files,
        "manifest_sha256": packed.manifest_sha256,
        "signed_by": packed.signed_by,
    }
    emit(document, as_json=as_json, render=_show)


def _show(document: dict[str, Any]) -> None:
    signed = "not signed" if document["signed_by"] is None else f"signed by key {document['signed_by']}"
    click.echo(f"{document['archive']}: {document['files']} files in {size(document['bytes'])}, {signed}")
