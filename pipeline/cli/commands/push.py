"""`svfit push`: a bundle to a running server, which checks it, switches to it, or says why not."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import click

from pipeline.cli.output import common_options, counter, emit
from pipeline.cli.site import client, server_options, show_change
from pipeline.cli.summary import size


@click.command()
@click.argument("bundle", metavar="BUNDLE|ARCHIVE", type=click.Path(path_type=Path))
@click.argument("url", metavar="URL")
@click.option("--whole", is_flag=True, help="Send every file, also those that the server has.")
@server_options
@common_options
def push(
    bundle: Path, url: str, whole: bool, key_file: Path | None, ca: Path | None, as_json: bool, quiet: bool
) -> None:
    """Deliver a bundle's folder, or an archive of `svfit pack`, to the server at URL, started with --site.

    Only files travel that the server lacks, so a new adapter in a swappable bundle takes some KB. The server checks
    what arrives, its signature too where it trusts keys, loads it beside what answers, asks it its own samples, and
    then switches: requests under way end with the release before. If anything is wrong, nothing changes.

    \b
      svfit push site.bundle http://device:8080
      svfit rollback http://device:8080
    """
    from serve.delivery.archive import unpack

    server = client(url, key_file, ca)
    with tempfile.TemporaryDirectory(prefix="svfit-push-") as name, counter("bytes sent", quiet or as_json) as count:
        if bundle.is_file():
            bundle = unpack(bundle, Path(name) / "bundle").path
        sent = server.push(bundle, whole=whole, sent=count)
    document = {**sent.answer, "sent_bytes": sent.bytes, "bundle_bytes": sent.whole, "sent_files": sent.files}
    emit(document, as_json=as_json, render=_show)


def _show(document: dict[str, Any]) -> None:
    files = "1 file" if document["sent_files"] == 1 else f"{document['sent_files']} files"
    click.echo(f"sent      {size(document['sent_bytes'])}, {files} of a bundle of {size(document['bundle_bytes'])}")
    show_change(document)
