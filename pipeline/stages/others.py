"""Another task's finished run, read from its folder: its rows, its adapter, its merged graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich.console import Console

from pipeline.config.schema import SECTIONS, Config
from pipeline.stages.context import Context, read_result, read_stamp
from serve.errors import UsageError
from serve.files import sha256_file


def other_run(folder: Path, console: Console) -> Context:
    """The context that made a run. Raises `UsageError` where the folder isn't a run that got as far as `export`."""
    for stage in ("adapter", "merged", "export"):
        if not (folder / stage).is_dir() or not (folder / ".stages" / f"{stage}.json").is_file():
            raise UsageError(
                f"export.adapters: {folder} is no finished run (it has no {stage}/); do its svfit run first"
            )
    document = read_result(folder, "config.json")
    try:
        sections: dict[str, Any] = {
            name: model.model_validate(document["config"][name]) for name, model in SECTIONS.items()
        }
        config = Config(name=str(document["name"]), path=(folder / "config.json").absolute(), **sections)
    except (KeyError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(
            f"export.adapters: {folder}/config.json is of another version ({reason}); run it again"
        ) from None
    context = Context(config, folder, console)
    if read_stamp(context, "export") is None:
        raise UsageError(f"export.adapters: {folder} is no finished run; do its svfit run first")
    return context


def others_sha256(context: Context) -> list[str]:
    """Hashes of the adapters that `export.adapters` names: another training of theirs makes the graph stale."""
    paths = [Path(run) / "adapter" / "adapter.safetensors" for run in context.config.export.adapters]
    return [sha256_file(path) if path.is_file() else "" for path in paths]
