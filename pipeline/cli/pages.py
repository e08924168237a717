"""docs/COMMANDS.md: every command's `--help`, written from the commands themselves (`make docs`)."""

from __future__ import annotations

from collections.abc import Iterator

import click

WIDTH = 100  # columns, whatever terminal asks
HEAD = """# Commands

Every command's `--help`, written by `make docs`. Results go to stdout, progress and remarks to stderr. Exit codes:
0 done, 1 failed, 2 wrong usage or configuration, 4 a gate failed, 5 a wish of `tune` can't be kept, 130 stopped by
Ctrl-C.
"""


def pages() -> str:
    """The whole document: a heading and a help page for `svfit` and each command, nested ones too."""
    from . import main

    top = click.Context(main, info_name=main.name, terminal_width=WIDTH, help_option_names=["-h", "--help"])
    parts = [HEAD]
    for ctx in _contexts(top):
        parts.append(f"## {ctx.command_path}\n\n```text\n{ctx.get_help()}\n```\n")
    return "\n".join(parts)


def _contexts(ctx: click.Context) -> Iterator[click.Context]:
    """This command's context and those of all commands below it, in the order in which help lists them."""
    yield ctx
    if isinstance(ctx.command, click.Group):
        for name in ctx.command.list_commands(ctx):
            command = ctx.command.get_command(ctx, name)
            if command is not None:
                yield from _contexts(click.Context(command, info_name=name, parent=ctx))


if __name__ == "__main__":
    click.echo(pages(), nl=False)
