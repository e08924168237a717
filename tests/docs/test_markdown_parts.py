"""What reads the documentation finds what is wrong in it."""

from __future__ import annotations

import click
import pytest
from markdown_parts import blocks, check, commands, inline_commands, links

TEXT = """
See [the map](MAP.md#here), [a site](https://example.org), ![picture](docs/a.png "title"), [below](#below) and
`[not](a-link.md)`. <img src="docs/b.svg" width="10"> Try `svfit inspect` or `make demo`.

```sh
make demo            # not svfit
svfit run a.toml     # a comment with --wrong
HF_HUB_OFFLINE=1 .venv/bin/svfit predict b "a > b" \\
  --top 2 2>/dev/null | head -1 && svfit doctor
cat [no](link.md)
```

<!-- run -->
```python
print(1)
```
```python
print(2)
```
"""


def test_blocks_know_their_language_line_and_mark() -> None:
    assert [(block.text, block.run) for block in blocks(TEXT, "python")] == [
        ("print(1)\n", True),
        ("print(2)\n", False),
    ]
    (shell,) = blocks(TEXT, "sh", "console")
    assert TEXT.splitlines()[shell.line - 1].startswith("make demo")


def test_links_are_those_outside_of_code_that_point_into_the_repository() -> None:
    assert links(TEXT) == ["MAP.md", "docs/a.png", "docs/b.svg"]


def test_command_lines_lose_prompts_pipes_redirections_and_comments() -> None:
    (shell,) = blocks(TEXT, "sh")
    assert commands(shell.text) == [["run", "a.toml"], ["predict", "b", "a > b", "--top", "2"], ["doctor"]]
    assert commands("$ svfit doctor > out.txt\nsvfit-like x") == [["doctor"]]
    assert inline_commands(TEXT) == [["inspect"]]


@pytest.mark.parametrize(
    "line", ["run a.toml --set a=b", "--debug doctor", "adapter to-lora a b", "run --help", "--version", "adapter -h"]
)
def test_a_right_command_line_passes(line: str) -> None:
    check(line.split())


@pytest.mark.parametrize(
    "line",
    [
        "rnu a.toml",
        "run a.toml --wrong",
        "run",
        "adapter to-gora a b",
        "adapter",
        "",
        "verify a b",
        "predict b --top x",
    ],
)
def test_a_wrong_command_line_is_found(line: str) -> None:
    with pytest.raises(click.UsageError):
        check(line.split())


def test_a_command_in_a_sentence_may_lack_its_arguments_but_not_exist() -> None:
    check(["run"], whole=False)
    check(["adapter"], whole=False)
    for wrong in (["rnu"], ["run", "--wrong"]):
        with pytest.raises(click.UsageError):
            check(wrong, whole=False)
