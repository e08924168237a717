"""`svfit adapter export-native`: an adapter for a program that has onnxruntime and nothing of svfit."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import click

from pipeline.cli.commands.adapters import bundle_argument, open_registry, state_options
from pipeline.cli.output import emit


@click.command("export-native", short_help="Write an adapter in ONNX Runtime's own format.")
@bundle_argument
@click.argument("ref", metavar="NAME[@VERSION]")
@click.argument("output", metavar="OUT_DIR", type=click.Path(path_type=Path))
@state_options
def export_native(
    bundle: Path,
    ref: str,
    output: Path,
    state: Path | None,
    as_json: bool,
    quiet: bool,  # noqa: ARG001 - there is no progress
) -> None:
    """Write one of BUNDLE's adapters into the new folder OUT_DIR, for onnxruntime's LoraAdapter.

    sigma.onnx_adapter goes with model.onnx, head.onnx_adapter with the head's graph; adapter.json has the labels.
    Nothing of svfit is needed to answer with them: examples/native_adapter.py does it in twenty lines.
    """
    from serve.adapters.adapter import DOCUMENT
    from serve.adapters.native import write_native
    from serve.errors import UsageError
    from serve.files import atomic_dir, write_bytes
    from serve.swap import SwapSpec

    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UsageError(f"{output} exists already and holds something; name a new folder")
    if output.resolve().is_relative_to(bundle.resolve()):
        raise UsageError(f"{output} is in the bundle, which would no longer be what its manifest says; name another")
    with open_registry(bundle, state) as (opened, registry):
        swap = cast(SwapSpec, opened.manifest.swap)  # a registry is of a swappable bundle only
        record = registry.resolve(ref)
        loaded = registry.load(record)
        document = (record.folder / DOCUMENT).read_bytes()
        with atomic_dir(output) as fresh:
            write_native(loaded, swap, fresh)
            write_bytes(fresh / DOCUMENT, document)
            files = {path.name: path.stat().st_size for path in sorted(fresh.iterdir())}
    head = swap.head(loaded.head).file
    result = {"adapter": record.ref, "output": str(output), "head": head, "files": files}
    emit(result, as_json=as_json, render=_show)


def _show(document: dict[str, Any]) -> None:
    from pipeline.cli.summary import size

    click.echo(f"adapter  {document['adapter']}")
    click.echo(f"output   {document['output']}  ({size(sum(document['files'].values()))})")
    click.echo(f"goes to  model.onnx and {document['head']}")
