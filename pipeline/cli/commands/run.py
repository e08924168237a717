"""`svfit run`: all stages, from labelled rows to a checked bundle and its report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..output import emit, progress_console, run_options
from ..summary import failed_gates, print_report
from .stages import run_folder


@click.command()
@run_options
@click.option("--fresh", is_flag=True, help="Start over instead of going on at the first stage that isn't done.")
def run(
    config_path: Path,
    overrides: tuple[str, ...],
    output: Path | None,
    as_json: bool,
    quiet: bool,
    fresh: bool,
) -> None:
    """Rows in, a checked ONNX bundle and a report out.

    Fine-tunes the adapter that CONFIG.toml describes, folds it, exports to ONNX, quantizes, checks parity and
    accuracy, packs the bundle, and writes the report. A broken run goes on at the first stage that
    isn't done. Ends with code 4 when a gate fails that no fallback could save.
    """
    from pipeline.config import load
    from serve.errors import GateError

    config = load(config_path, overrides, require_files=True)
    folder = run_folder(config.name, output)
    console = progress_console(quiet)
    from pipeline.stages import runner

    document: dict[str, Any] = runner.run(config, folder, fresh=fresh, console=console)
    pair = not isinstance(config.data.text, str) and document["task"] != "text-embedding"
    emit(document, as_json=as_json, render=lambda found: print_report(found, folder, pair=pair))
    failed = failed_gates(document)
    if failed:
        raise GateError("; ".join(failed))
