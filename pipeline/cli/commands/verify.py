"""`svfit verify`: is a bundle what it was when it was made, and does it still answer so?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipeline.cli.output import common_options, emit, progress_console, show
from pipeline.cli.trust import trust_option


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--threads", type=click.IntRange(min=1), metavar="N", help="CPU threads. [default: onnxruntime's choice]")
@trust_option
@common_options
def verify(bundle: Path, threads: int | None, trust: tuple[Path, ...], as_json: bool, quiet: bool) -> None:
    """Check BUNDLE: every file's hash, that each variant loads, and its answers to the stored samples.

    Exit code 1 where a file was changed or isn't signed as --trust asks, 4 where the answers differ by more than they
    may.
    """
    from dataclasses import asdict

    from serve.delivery.signature import open_trusted
    from serve.verify import verify as check

    with progress_console(quiet or as_json).status(f"checking {bundle}"):
        result = check(open_trusted(bundle, trust), threads=threads)
    document = {**asdict(result), "passed": result.passed}
    emit(document, as_json=as_json, render=_show)
    result.require()


def _show(document: dict[str, Any]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for title in ("check", "result", "measured", "allowed"):
        table.add_column(title)
    table.add_row("files and hashes", Text("passed", style="green"), f"{document['files']} files", "no change")
    remarks = []
    for check in document["checks"]:
        passed = check["passed"]
        labels = "" if check["agreement"] is None else f", {check['agreement']:.0%} same labels"
        table.add_row(
            Text(f"{check['variant']}: {check['samples']} stored samples"),
            Text("passed" if passed else "FAILED", style="green" if passed else "bold red"),
            f"differs by {check['max_abs']:.2g}{labels}",
            f"{check['tolerance']:.2g}",
        )
        if check["remark"]:
            remarks.append(f"{check['variant']}: {check['remark']}")
    show(table, *map(Text, remarks))
