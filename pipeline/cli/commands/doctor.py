"""`svfit doctor`: what this machine can do, and what is missing for which stage."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ..output import common_options, emit
from ..summary import size


@click.command()
@common_options
def doctor(as_json: bool, quiet: bool) -> None:  # noqa: ARG001 - quiet changes nothing: there is no progress
    """Say what this machine can do, and what is missing for which stage and how to get it.

    Shows versions, GPU, CPU with the instruction sets that matter for int8, free memory and disk. Ends with
    code 1 only where even answering from a bundle is impossible.
    """
    from pipeline import __version__
    from pipeline.doctor import examine

    document = {"svfit": __version__, **examine(Path.cwd())}
    emit(document, as_json=as_json, render=_print)
    if not document["stages"]["serve"]["ready"]:
        raise click.exceptions.Exit(1)


def _print(document: Mapping[str, Any]) -> None:
    machine, gpu = document["machine"], document["gpu"]
    if gpu["usable"]:
        graphics = f"{', '.join(gpu['found'])} ({gpu['kind']}{', bf16' if gpu.get('bf16') else ''})"
    else:
        graphics = gpu["reason"]
    rows = [
        ("svfit", f"{document['svfit']}, Python {machine['python']}, {machine['os']}"),
        ("CPU", f"{machine['cpu']}, {machine['cores']} cores"),
        ("for int8", ", ".join(machine["isa"]) or "unknown"),
        ("GPU", graphics),
        ("memory", f"{size(machine['free_memory_bytes'])} free of {size(machine['memory_bytes'])}"),
        ("disk", f"{size(document['disk_free_bytes'])} free here"),
    ]
    for name, value in rows:
        click.echo(f"{name:<9} {value}")
    for name, stage in document["stages"].items():
        verdict = click.style("ready", fg="green") if stage["ready"] else click.style("not ready", fg="red")
        click.echo(f"\n{name:<9} {verdict}")
        versions = [f"{package} {version}" for package, version in stage["packages"].items() if version]
        if versions:
            click.echo(f"{'':<9} {', '.join(versions)}")
        for problem in stage["problems"]:
            click.echo(f"{'':<9} {problem}")
        if stage["install"]:
            click.echo(f"{'':<9} try: {stage['install']}")
    for remark in document["remarks"]:
        click.echo(f"\nnote: {remark}")
