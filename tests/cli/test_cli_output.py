"""The helpers that commands print with."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from pipeline.cli.output import finite, progress, progress_console, show
from pipeline.cli.summary import number, print_summary, size


def test_progress_shows_rate_and_count_on_a_terminal_only() -> None:
    for terminal in (True, False):
        stream = io.StringIO()
        console = Console(file=stream, force_terminal=terminal, width=120)
        with progress(console) as bar:
            task = bar.add_task("rows", total=4)
            for _ in range(3):
                bar.advance(task)
            bar.refresh()
        shown = stream.getvalue()
        assert ("3/4" in shown and "/s" in shown) if terminal else shown == ""


def test_progress_goes_to_stderr_and_quiet_silences_it(capsys: pytest.CaptureFixture[str]) -> None:
    progress_console().print("working")
    progress_console(quiet=True).print("more")
    assert capsys.readouterr() == ("", "working\n")


def test_a_long_line_is_not_cut_at_80_columns_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    show("x" * 150)
    assert capsys.readouterr().out == "x" * 150 + "\n"


def test_a_table_leaves_no_spaces_at_the_ends_of_lines(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("a", "b")
    table.add_row("1", "")
    show(table, "", "end   ")
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == ["", "end"]
    assert lines == [line.rstrip() for line in lines]


def test_an_empty_list_in_a_summary_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    print_summary({"kept_fp32": [], "drop": 0.5})
    assert capsys.readouterr().out == "kept_fp32  none\ndrop       0.5\n"


def test_documents_become_plain_json_values() -> None:
    document = {"a": (1, float("inf")), 2: [Path("x/y")], "b": {"c": float("nan"), "d": True}}
    assert finite(document) == {"a": [1, None], "2": ["x/y"], "b": {"c": None, "d": True}}


@pytest.mark.parametrize(
    ("count", "text"),
    [(None, "–"), (0, "0 B"), (999, "999 B"), (1000, "1 KB"), (90_900_000, "90.9 MB"), (999_600, "1 MB")],
)
def test_sizes_have_three_digits(count: int | None, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (True, "yes"), (13824, "13,824"), (0.123456, "0.1235"), ("x", "x")]
)
def test_numbers_are_short(value: object, text: str) -> None:
    assert number(value) == text
