"""`svfit adapter to-lora`: an adapter as PEFT's LoRA."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipeline.cli.output import common_options, emit, progress_console


@click.command("to-lora", short_help="Write an adapter, exactly, in PEFT's LoRA format.")
@click.argument("folder", metavar="ADAPTER_DIR", type=click.Path(path_type=Path))
@click.argument("output", metavar="OUT_DIR", type=click.Path(path_type=Path))
@common_options
def to_lora(folder: Path, output: Path, as_json: bool, quiet: bool) -> None:
    """Write ADAPTER_DIR, exactly, as a LoRA adapter that stock PEFT loads, into the new folder OUT_DIR.

    Reads the singular vectors that the adapter was trained on from svfit's cache on this machine.
    """
    from export.adapter import Adapter
    from export.lora import to_lora as convert
    from export.store import FactorStore
    from serve.errors import UsageError
    from serve.files import atomic_dir

    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UsageError(f"{output} exists already and holds something; name a new folder")
    if (folder / "adapter" / "adapter.json").is_file():
        raise UsageError(f"{folder} is a run's folder; its adapter is {folder / 'adapter'}")
    read = Adapter.load(folder)
    console = progress_console(quiet)
    with console.status(f"writing {output}"), atomic_dir(output) as fresh:
        summary = convert(read, FactorStore(), fresh, conv1d=_conv1d(read.card, console))
    emit({"output": str(output), **summary}, as_json=as_json, render=_show)


def _conv1d(card: Any, console: Any) -> bool:
    from export.lora import stores_transposed
    from pipeline.model.source import resolve
    from serve.errors import InputError

    base = card.get("base")
    name = base.get("name") if isinstance(base, dict) else base
    try:
        if name and (str(name).startswith("pypi:") or Path(str(name)).is_dir()):
            return stores_transposed(resolve(str(name)).folder)
    except (InputError, OSError, ValueError):
        pass
    console.print(f"base model {name or '(not named)'} isn't on this machine: taken for one with nn.Linear layers")
    return False


def _show(document: dict[str, Any]) -> None:
    from pipeline.cli.summary import number, size

    ranks = document["ranks"].values()
    low, high = min(ranks), max(ranks)
    click.echo(f"output           {document['output']}  ({size(document['bytes'])})")
    click.echo(f"layers           {document['layers']}, rank {low if low == high else f'{low} to {high}'}")
    ours, theirs = number(document["adapter_values"]), number(document["lora_values"])
    click.echo(f"values           {ours} as SVFit ({document['core']} core), {theirs} as LoRA")
    click.echo(f"modules_to_save  {', '.join(document['modules_to_save']) or 'none'}")
