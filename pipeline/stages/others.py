"""Another task's finished run, read from its folder: its rows, its adapter, its merged graph."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from pipeline.stages.context import Context, read_config, read_stamp
from serve.errors import InputError, UsageError
from serve.files import sha256_file


def other_run(folder: Path, console: Console) -> Context:
    """The context that made a run. Raises `UsageError` where the folder isn't a run that got as far as `export`."""
    for stage in ("adapter", "merged", "export"):
        if not (folder / stage).is_dir() or not (folder / ".stages" / f"{stage}.json").is_file():
            raise UsageError(
                f"export.adapters: {folder} is no finished run (it has no {stage}/); do its svfit run first"
            )
    try:
        config = read_config(folder)
    except InputError as error:
        raise UsageError(f"export.adapters: {error}; run it again") from None
    context = Context(config, folder, console)
    if read_stamp(context, "export") is None:
        raise UsageError(f"export.adapters: {folder} is no finished run; do its svfit run first")
    return context


def others_sha256(context: Context) -> list[str]:
    """Hashes of the adapters that `export.adapters` names: another training of theirs makes the graph stale."""
    paths = [Path(run) / "adapter" / "adapter.safetensors" for run in context.config.export.adapters]
    return [sha256_file(path) if path.is_file() else "" for path in paths]
