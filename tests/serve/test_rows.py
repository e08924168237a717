"""Rows are read one at a time, and a bad one is told with file and line."""

from __future__ import annotations

import io
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.errors import InputError
from serve.predictor import MAX_TEXT
from serve.rows import MAX_LINE_BYTES, read_file, read_lines


def write(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    ("name", "text", "columns", "rows"),
    [
        ("a.csv", 'id,text\n1,pump\n2,"a, ""b""\nc"\n', (), ["pump", 'a, "b"\nc']),
        ("a.csv", "message\r\npump\r\n\r\nfan\r\n", (), ["pump", "fan"]),
        ("a.CSV", "\ufefftext,x\npump,1\n", (), ["pump"]),
        ("a.csv", "id,message\n1,pump\n", ("message",), ["pump"]),
        ("a.csv", "id,text\n1,\n", (), [""]),
        ("a.tsv", "text\tid\na, b\t1\n", (), ["a, b"]),
        ("a.jsonl", '{"text": "p\\u00fcmp", "n": 1}\n\n{"n": 2, "text": ""}\n', (), ["pümp", ""]),
        ("a.ndjson", '{"m": "\\ud83d\\udd27"}', ("m",), ["🔧"]),
        ("a.txt", "pump\n\nfan is\tnoisy", (), ["pump", "", "fan is\tnoisy"]),
        ("a.csv", "text\n", (), []),
    ],
)
def test_texts_are_read(tmp_path: Path, name: str, text: str, columns: tuple[str, ...], rows: Any) -> None:
    assert list(read_file(write(tmp_path, name, text), 1, columns)) == rows


@pytest.mark.parametrize(
    ("name", "text", "columns"),
    [
        ("a.csv", "b,a\ny,x\n", ("a", "b")),
        ("a.csv", "first,second\nx,y\n", ()),
        ("a.jsonl", '{"n": 1, "b": "y", "a": "x"}\n', ("a", "b")),
        ("a.txt", "x\ty\r\n", ()),
    ],
)
def test_pairs_are_read_in_the_order_that_was_asked(
    tmp_path: Path, name: str, text: str, columns: tuple[str, ...]
) -> None:
    assert list(read_file(write(tmp_path, name, text), 2, columns)) == [("x", "y")]


@pytest.mark.parametrize(
    ("name", "text", "columns", "told"),
    [
        ("a.csv", "", (), r"a\.csv: empty"),
        ("a.csv", "id,note\n1,x\n", (), r"a\.csv: which 1 column\(s\) hold the text\?.* id, note"),
        ("a.csv", "text;label\na;b\n", (), r"a\.csv: one column, 'text;label'; are its columns separated by ';'"),
        ("a.csv", "id,note\n1,x\n", (), r"name them \(--text COLUMN\)"),
        ("a.csv", "id,note\n1,x\n", ("text",), "no column 'text'; there are: id, note"),
        ("a.csv", "text,text\n1,x\n", (), "more than one column 'text'"),
        ("a.csv", "text\nx\n", ("text", "x"), r"takes 1 text column\(s\), 2 named"),
        ("a.csv", "id,text\n1,x\n2\n", (), r"a\.csv, line 3: 1 fields; the header names 2"),
        ("a.csv", 'text\nx\n"open\nto the end\n', (), r"a\.csv, line 4: malformed"),
        ("a.csv", 'text\n"a"b\n', (), r"a\.csv, line 2: malformed"),
        ("a.csv", b"text\nok\nna\xefve\n", (), r"a\.csv, line 3: not UTF-8"),
        ("a.jsonl", '{"text": "x"}\n{"text": \n', (), r"a\.jsonl, line 2: not valid JSON"),
        ("a.jsonl", '"x"\n', (), r"line 1: must be an object"),
        ("a.jsonl", '{"text": "x"}\n{"txt": "x"}\n', (), r"line 2: 'text' is missing"),
        ("a.jsonl", '{"text": null}\n', (), r"line 1: 'text' must be text \(got None\)"),
        ("a.jsonl", '{"text": "\\ud83d"}\n', (), "line 1: holds half a surrogate pair"),
        ("a.jsonl", "[" * 100_000, (), "line 1: not valid JSON"),
        ("a.txt", "x\n", ("text",), "plain lines have no columns"),
        ("a.parquet", "x", (), r"known endings: \.csv, \.tsv"),
        ("a.txt", "x" * (MAX_TEXT + 1), (), f"line 1: {MAX_TEXT + 1} characters"),
        ("a.txt", "x" * (MAX_LINE_BYTES + 1), (), "line 1: a row of more than"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(
    tmp_path: Path, name: str, text: str | bytes, columns: tuple[str, ...], told: str
) -> None:
    with pytest.raises(InputError, match=told) as caught:
        list(read_file(write(tmp_path, name, text), 1, columns))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.csv: can't be read \(No such file"):
        list(read_file(tmp_path / "none.csv", 1))


def test_a_quote_left_open_over_a_long_file_stops_early(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", 'text\n"' + "a line\n" * (MAX_LINE_BYTES // 5))
    with pytest.raises(InputError, match="is a quote left open"):
        list(read_file(path, 1))


def test_lines_without_a_tab_are_no_pairs() -> None:
    with pytest.raises(InputError, match=r"standard input, line 2: a pair is .* \(0 tabs found\)"):
        list(read_lines(io.BytesIO(b"a\tb\nc\n"), 2))


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, name: str) -> None:
    line = "the pump is leaking again\n" if name == "a.csv" else '{"text": "the pump is leaking again"}\n'
    head = "text\n" if name == "a.csv" else ""
    path = write(tmp_path, name, head + line * 40_000)
    tracemalloc.start()
    count = sum(1 for _ in read_file(path, 1))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 40_000
    assert peak < path.stat().st_size / 2  # a reader that holds the file holds all of it, and more


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=20), max_size=5))
def test_any_text_survives_json_lines(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    assert list(read_file(path, 1)) == texts
