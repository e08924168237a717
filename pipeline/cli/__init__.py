"""The command line, `svfit`. Imports nothing but click until a command runs."""

from __future__ import annotations

import click

from pipeline import __version__

from .lazy import LazyGroup
from .output import debug_option
from .table import COMMANDS


@click.group(
    name="svfit",
    cls=LazyGroup,
    table=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="svfit")
@debug_option
def main() -> None:
    """Fine-tune singular values, ship ONNX, answer on the device.

    \b
    svfit init my-task          write my-task.toml
    svfit run my-task.toml      fine-tune, export, quantize, check, pack, report
    svfit predict runs/my-task/bundle "a text"
    """
