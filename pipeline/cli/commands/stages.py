"""`svfit finetune | merge | export | swap | quantize | bundle | report`: one stage of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..output import emit, progress_console, run_options
from ..summary import print_summary


def run_folder(name: str, output: Path | None) -> Path:
    """Where a run's stages are: `--output`, or runs/<config name> below the current folder."""
    return output if output is not None else Path("runs") / name


def _stage(name: str, text: str) -> click.Command:
    @click.command(name=name, help=text)
    @run_options
    def command(config_path: Path, overrides: tuple[str, ...], output: Path | None, as_json: bool, quiet: bool) -> None:
        from pipeline.config import load

        config = load(config_path, overrides)
        folder = run_folder(config.name, output)
        console = progress_console(quiet)
        from pipeline.stages.runner import run_stage

        document: dict[str, Any] = run_stage(name, config, folder, console=console)
        emit(document, as_json=as_json, render=print_summary)

    return command


finetune = _stage(
    "finetune",
    "Train an adapter on the rows that CONFIG.toml names.\n\n"
    "Writes adapter/ into the run's folder: what was learned, the curves, and what the data looked like.",
)
merge = _stage(
    "merge",
    "Fold the adapter into the base model's weights.\n\n"
    "Reads adapter/, writes merged/: the model with what was learned in its weights, float32 safetensors.",
)
export = _stage(
    "export",
    "Write the merged model as ONNX and compare it with PyTorch.\n\n"
    "Reads merged/, writes export/. Ends with code 4 when outputs differ by more than export.parity.",
)
swap = _stage(
    "swap",
    "Build one graph that this run's adapter and those of export.adapters share, for export.mode = swappable.\n\n"
    "Reads adapter/, merged/ and export/, writes swap/: the directions that the adapters move within "
    "export.swap_budget, the adapters settled on them, the backbone and the head. Ends with code 4 when a gate fails.",
)


@click.command()
@run_options
@click.option("--all", "every", is_flag=True, help="Every variant, ranked; as --set quantize.variants=all.")
def quantize(
    config_path: Path, overrides: tuple[str, ...], output: Path | None, as_json: bool, quiet: bool, every: bool
) -> None:
    """Make int8, or the variants of quantize.variants, and measure what each loses on the validation rows.

    Reads export/, writes quantize/. Layers stay in fp32 until at most quantize.max_drop points are lost. Several
    variants are timed and weighed too, and the best that held becomes the default of what `svfit bundle` packs.
    """
    from pipeline.config import load

    from ..variants_view import print_quantized

    config = load(config_path, (*overrides, "quantize.variants=all") if every else overrides)
    console = progress_console(quiet)
    from pipeline.stages.runner import run_stage

    document: dict[str, Any] = run_stage("quantize", config, run_folder(config.name, output), console=console)
    emit(document, as_json=as_json, render=print_quantized)


bundle = _stage(
    "bundle",
    "Pack graphs, tokenizer, adapter and sample answers into what a device takes.\n\n"
    "Reads export/ and quantize/, writes bundle/. Check it anywhere with: svfit verify BUNDLE.",
)
report = _stage(
    "report",
    "Write report.json (numbers) and report.html (the same for people) from what the stages measured.",
)
