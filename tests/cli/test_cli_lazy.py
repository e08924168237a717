"""Help and completion answer without the heavy imports, for every command in the table."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.cli.table import COMMANDS

HEAVY = ("numpy", "onnxruntime", "pydantic", "rich", "tokenizers", "torch", "transformers")
PROBE = f"""
import json, sys
from pipeline.cli import main
try:
    main(json.loads(sys.argv[1]), prog_name="svfit")
finally:
    found = [name for name in {HEAVY!r} if name in sys.modules]
    sys.stderr.write("IMPORTED " + json.dumps(found))
"""


def probe(arguments: list[str], **environment: str) -> tuple[str, list[str]]:
    """What `svfit ARGUMENTS` prints, and which heavy modules it imported."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE, json.dumps(arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(done.stderr.partition("IMPORTED ")[2])


def test_help_lists_every_command_and_imports_nothing_heavy() -> None:
    output, imported = probe(["--help"])
    assert imported == []
    for name, (_, short) in COMMANDS.items():
        assert name in output
        assert short in output


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_imports_nothing_heavy(name: str) -> None:
    output, imported = probe([name, "--help"])
    assert output.startswith(f"Usage: svfit {name}")
    assert imported == []


@pytest.mark.parametrize(
    ("words", "expected"), [("svfit q", "quantize"), ("svfit run --fr", "--fresh"), ("svfit --ver", "--version")]
)
def test_completion_imports_nothing_heavy(words: str, expected: str) -> None:
    environment = {"_SVFIT_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    output, imported = probe([], **environment)
    assert output.split() == [f"plain,{expected}"]
    assert imported == []


def commands(command: click.Command, words: tuple[str, ...]) -> list[tuple[tuple[str, ...], click.Command]]:
    found = [(words, command)]
    if isinstance(command, click.Group):
        ctx = click.Context(command)
        for name in command.list_commands(ctx):
            inner = command.get_command(ctx, name)
            assert inner is not None
            found += commands(inner, (*words, name))
    return found


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_is_documented(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    for words, found in commands(command, (name,)):
        assert found.name == words[-1]
        assert found.help, words
        for parameter in found.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, (words, parameter.name)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_the_common_options(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    for words, found in commands(command, (name,)):
        if not isinstance(found, click.Group):
            options = {option for parameter in found.params for option in parameter.opts}
            assert options >= {"--json", "--quiet", "--debug"}, words


def test_an_unknown_command_names_the_nearest_and_all_others() -> None:
    result = CliRunner().invoke(main, ["quantise"])
    assert result.exit_code == 2
    assert 'Did you mean "quantize"?' in result.stderr
    assert "Available: run, init, finetune" in result.stderr


def test_version_is_the_packages() -> None:
    from pipeline import __version__

    result = CliRunner().invoke(main, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"svfit, version {__version__}\n")
