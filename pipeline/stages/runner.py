"""The stages of a run in order, and which of them are still to do."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console

from pipeline.config import Config
from pipeline.stages.bundle import bundle
from pipeline.stages.bundle_swap import bundle_swap
from pipeline.stages.context import Context, Stage, execute, is_done, require
from pipeline.stages.export import export
from pipeline.stages.finetune import finetune
from pipeline.stages.merge import merge
from pipeline.stages.onto import onto_sha256
from pipeline.stages.others import others_sha256
from pipeline.stages.quantize import quantize
from pipeline.stages.quantize_swap import quantize_swap
from pipeline.stages.quiet import quiet_libraries
from pipeline.stages.record import write_config
from pipeline.stages.report import write_report
from pipeline.stages.swap import swap
from serve.errors import UsageError

FIRST = (
    Stage("adapter", "finetune", (), ("model", "data", "adapter", "train"), finetune, onto_sha256),
    Stage("merged", "merge", ("adapter",), (), merge),
    Stage("export", "export", ("merged",), ("export",), export),
)
STAGES = (
    *FIRST,
    Stage("quantize", "quantize", ("export",), ("quantize",), quantize),
    Stage("bundle", "bundle", ("export", "quantize"), (), bundle),
)
SWAPPABLE = (
    *FIRST,
    Stage("swap", "swap", ("adapter", "merged", "export"), ("export", "train"), swap, others_sha256),
    Stage("quantize", "quantize", ("swap",), ("quantize",), quantize_swap),
    Stage("bundle", "bundle", ("swap", "quantize"), (), bundle_swap),
)


def stages(config: Config) -> tuple[Stage, ...]:
    """The stages of a run, in order, as `export.mode` has them."""
    return SWAPPABLE if config.export.mode == "swappable" else STAGES


def run(config: Config, folder: Path, *, fresh: bool, console: Console) -> dict[str, Any]:
    """Do every stage that isn't done, then write the report; gives the report's document."""
    context = Context(config, folder, console)
    with quiet_libraries():
        if not is_main():
            _help_to_train(config, folder, always=fresh)
        todo = stages(config)
        if fresh:
            for stage in todo:
                shutil.rmtree(context.path(stage.name), ignore_errors=True)
            for path in folder.glob(".checkpoints-*"):
                shutil.rmtree(path, ignore_errors=True)
        write_config(context)
        for number, stage in enumerate(todo, 1):
            if is_done(stage, context):
                context.say(f"[{number}/{len(todo)}] {stage.command}: done before, kept")
                continue
            context.say(f"[{number}/{len(todo)}] {stage.command}")
            execute(stage, context)
        return write_report(context)


def run_stage(name: str, config: Config, folder: Path, *, console: Console) -> dict[str, Any]:
    """Do one stage, whether or not it was done before; gives its summary."""
    context = Context(config, folder, console)
    with quiet_libraries():
        if not is_main():
            if name == STAGES[0].command:
                _help_to_train(config, folder, always=True)
            raise SystemExit(0)
        todo = stages(config)
        if name == "report":
            require(context, name, [stage.name for stage in todo])
            return write_report(context)
        stage = next((stage for stage in todo if stage.command == name), None)
        if stage is None:
            raise UsageError(f"{name}: a merged export has no such stage; --set export.mode=swappable")
        require(context, name, stage.needs)
        for earlier in todo:
            if earlier.name in stage.needs and not is_done(earlier, context):
                context.say(
                    f"! {context.path(earlier.name)} was made from another configuration or other rows; "
                    f"svfit run {context.config.path.name} makes it anew"
                )
        write_config(context)
        return execute(stage, context)


def is_main() -> bool:
    """Whether this process is the only one, or the first of those that `accelerate launch` or `torchrun` started."""
    return os.environ.get("RANK", "0") == "0"


def _help_to_train(config: Config, folder: Path, *, always: bool) -> NoReturn:
    """What the other processes do: train along where there is training to do, and write nothing."""
    context = Context(config, folder, Console(quiet=True))
    stage = STAGES[0]
    if always or not is_done(stage, context):
        with tempfile.TemporaryDirectory() as unused:
            stage.work(context, Path(unused))
    raise SystemExit(0)
