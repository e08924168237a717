"""The parts of a Markdown text that can be checked: fenced blocks, commands in them, and relative links."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

import click

from pipeline.cli import main

FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RUN = "<!-- run -->"
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)[^)]*\)|<(?:img|a|source)\b[^>]*?(?:src|href|srcset)=\"([^\"]+)\"")
# What ends a command in a line: a file name or another command follows.
ENDS = ("|", "||", "&&", ";", ">", ">>", "<", "&")


@dataclass(frozen=True)
class Block:
    """A fenced block, the line in which its text begins, and whether it says that it can be run."""

    language: str
    text: str
    line: int
    run: bool


def blocks(text: str, *languages: str) -> list[Block]:
    """The fenced blocks of these languages."""
    return [
        Block(found[1], found[2], text[: found.start(2)].count("\n") + 1, text[: found.start()].rstrip().endswith(RUN))
        for found in FENCE.finditer(text)
        if found[1] in languages
    ]


def links(text: str) -> list[str]:
    """Relative targets of links and images outside of code, without their #anchors."""
    plain = re.sub(r"`[^`\n]*`", "", FENCE.sub("", text))
    targets = [found[1] or found[2] for found in LINK.finditer(plain)]
    return [target.partition("#")[0] for target in targets if not re.match(r"[a-z][a-z+.-]*:|#", target)]


def commands(text: str, program: str = "svfit") -> list[list[str]]:
    """The arguments of each command line of `program` in a shell block: `$ ` before it, pipes and comments gone."""
    joined = text.replace("\\\n", " ")
    return [found for line in joined.splitlines() for found in _of_line(line.strip().removeprefix("$ "), program)]


def inline_commands(text: str) -> list[list[str]]:
    """The arguments of each `svfit …` that stands as code in a sentence."""
    return [words for code in re.findall(r"`(svfit [^`\n]*)`", FENCE.sub("", text)) for words in commands(code)]


def _of_line(line: str, program: str) -> Iterator[list[str]]:
    if program not in line:
        return
    lexer = shlex.shlex(line.replace(" 2>", " >"), posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    words = list(lexer)
    while words:
        end = next((place for place, word in enumerate(words) if word in ENDS), len(words))
        part = words[:end]
        while part and re.fullmatch(r"[A-Z_]+=.*", part[0]):
            part = part[1:]
        if part and part[0].rpartition("/")[2] == program:
            yield part[1:]
        words = words[end + 1 :]


def check(arguments: list[str], *, whole: bool = True) -> None:
    """Parse a command line without running it; `whole` false lets arguments be missing. Raises UsageError."""
    ctx, rest = click.Context(main, info_name="svfit"), arguments
    command: click.Command = main
    while isinstance(command, click.Group):
        if set(rest[:1]) & {"--help", "-h", "--version"} or (not rest and not whole):
            return
        _, rest, _ = command.make_parser(ctx).parse_args(list(rest))
        name = rest[0] if rest else ""
        found = command.get_command(ctx, name)
        if found is None:
            raise click.UsageError(f"no command {name!r} in {ctx.command_path}")
        command, rest = found, rest[1:]
        ctx = click.Context(command, info_name=name, parent=ctx)
    try:
        command.make_context(command.name, list(rest), parent=ctx.parent)
    except click.MissingParameter:
        if whole:
            raise
    except click.exceptions.Exit:
        return  # --help
