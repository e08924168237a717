"""`svfit unpack`: an archive to a bundle's folder, checked while it is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipeline.cli.output import common_options, emit, progress_console
from pipeline.cli.summary import size
from pipeline.cli.trust import trust_option


@click.command()
@click.argument("archive", type=click.Path(path_type=Path))
@click.argument("out", metavar="DIR", type=click.Path(path_type=Path))
@trust_option
@click.option(
    "--max-mb",
    type=click.FloatRange(min=0, min_open=True),
    default=16384,
    show_default=True,
    metavar="N",
    help="Refuse a bundle that is larger than this once unpacked.",
)
@common_options
def unpack(archive: Path, out: Path, trust: tuple[Path, ...], max_mb: float, as_json: bool, quiet: bool) -> None:
    """Make the bundle's folder DIR, which mustn't be there yet, of ARCHIVE.

    Sizes, hashes and, with --trust, the signature are checked before and while files are written: DIR is whole and
    right, or isn't there. Nothing is loaded; `svfit verify DIR` does that.
    """
    from serve.delivery.archive import unpack as unpacked
    from serve.delivery.keys import read_trusted
    from serve.delivery.signature import read

    with progress_console(quiet or as_json).status(f"unpacking {archive}"):
        bundle = unpacked(archive, out, trusted=read_trusted(trust), max_bytes=int(max_mb * 2**20))
        signed = read(bundle.path)
    manifest = bundle.manifest
    document = {
        "bundle": bundle.path,
        "name": manifest.name,
        "files": len(manifest.files),
        "bytes": sum(file.bytes for file in manifest.files.values()),
        "manifest_sha256": manifest.manifest_sha256,
        "signed_by": None if signed is None else signed.key,
        "trusted": bool(trust),
    }
    emit(document, as_json=as_json, render=_show)


def _show(document: dict[str, Any]) -> None:
    key = document["signed_by"]
    signed = "not signed" if key is None else f"signed by key {key}"
    if key is not None and not document["trusted"]:
        signed = f"says that key {key} signed it (not checked: no --trust)"
    click.echo(f"{document['bundle']}: {document['files']} files, {size(document['bytes'])}, {signed}")
