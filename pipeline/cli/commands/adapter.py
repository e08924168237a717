"""`svfit adapter`: the adapters of a swappable bundle, and what can be done with one by itself."""

from __future__ import annotations

import click

from pipeline.cli.commands.adapter_lora import to_lora
from pipeline.cli.commands.adapter_native import export_native
from pipeline.cli.commands.adapters import COMMANDS


@click.group()
def adapter() -> None:
    """Work with adapters: those that a swappable bundle serves, or one by itself.

    A server that runs on the same bundle (and --state) serves a change at once.
    """


for command in (*COMMANDS, export_native, to_lora):
    adapter.add_command(command)
