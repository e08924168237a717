"""Reading files: what comes out, and that every complaint names file and line."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data import delimited, lines
from pipeline.data.readers import EXTENSIONS, READERS, read_file
from pipeline.data.table import Table
from serve.errors import InputError, UsageError
from serve.files import sha256_file

pa: Any = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
pq: Any = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")

ROWS = [("plain", "a"), ('with "quotes", commas', "b"), ("two\nlines\ttab", "a"), ("näïve 😀 עברית", "b"), ("", "a")]


def write_delimited(path: Path, delimiter: str) -> None:
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle, delimiter=delimiter)
        writer.writerows([("text", "label"), *ROWS])


def write_jsonl(path: Path) -> None:
    path.write_text("".join(json.dumps({"text": t, "label": k}) + "\n" for t, k in ROWS), encoding="utf-8")


def write_parquet(path: Path) -> None:
    pq.write_table(pa.table({"text": [t for t, _ in ROWS], "label": [k for _, k in ROWS]}), path)


WRITERS: dict[str, Callable[[Path], None]] = {
    ".csv": lambda path: write_delimited(path, ","),
    ".tsv": lambda path: write_delimited(path, "\t"),
    ".jsonl": write_jsonl,
    ".ndjson": write_jsonl,
    ".json": write_jsonl,
    ".parquet": write_parquet,
}


def read(path: Path, file_format: str = "auto") -> Table:
    return read_file(path, ["text", "label"], file_format)


def refusal(path: Path, content: bytes, *, file_format: str = "auto") -> str:
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read(path, file_format)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    return message.removeprefix(str(path))


def test_every_extension_and_format_has_a_writer_here() -> None:
    assert set(WRITERS) == set(EXTENSIONS)
    assert set(EXTENSIONS.values()) == set(READERS)


@pytest.mark.parametrize("extension", list(EXTENSIONS))
def test_every_format_gives_the_rows_it_was_written_with(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"rows{extension}"
    WRITERS[extension](path)
    table = read(path)
    assert table.texts == [(text,) for text, _ in ROWS]
    assert table.labels == [label for _, label in ROWS]
    assert table.source == str(path)
    assert table.sha256 == sha256_file(path)


@pytest.mark.parametrize("extension", [".csv", ".tsv", ".jsonl"])
def test_gzip_reads_like_the_file_inside_and_hashes_the_file_outside(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"rows{extension}"
    WRITERS[extension](path)
    packed = tmp_path / f"rows{extension}.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert read(packed).texts == read(path).texts
    assert read(packed).sha256 == sha256_file(packed)


def test_an_explicit_format_overrides_the_extension(tmp_path: Path) -> None:
    path = tmp_path / "rows.txt"
    write_delimited(path, "\t")
    assert read(path, "tsv").labels == [label for _, label in ROWS]


def test_columns_are_found_by_name_and_a_pair_keeps_its_order(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("label, b ,c,a\nx,B,C,A\n")
    table = read_file(path, ["a", "b", "label"])
    assert table.texts == [("A", "B")]
    assert table.labels == ["x"]


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    for name, content in {"a.csv": "text,label\nx,y\n", "a.jsonl": '{"text": "x", "label": "y"}\n'}.items():
        path = tmp_path / name
        path.write_bytes(b"\xef\xbb\xbf" + content.encode())
        assert read(path).texts == [("x",)]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_end_like_on_any_system_and_a_row_is_placed_at_its_first_line(tmp_path: Path, end: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(end.join(["text,label", '"a', 'b",x', "", "c\u2028d,y"]).encode())
    table = read(path)
    assert table.texts == [(f"a{end}b",), ("c\u2028d",)]
    assert table.numbers == [2, 5]


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(
        st.tuples(
            st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
            st.sampled_from(["a", "b c", '"']),
        ),
        min_size=1,
    ),
    delimiter=st.sampled_from([",", "\t"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_any_text_survives_csv(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], delimiter: str, quoting: int
) -> None:
    path = tmp_path_factory.mktemp("csv") / ("rows.csv" if delimiter == "," else "rows.tsv")
    with path.open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle, delimiter=delimiter, quoting=quoting).writerows([("text", "label"), *rows])  # type: ignore[arg-type]
    table = read(path)
    assert [(texts[0], label) for texts, label in zip(table.texts, table.labels, strict=True)] == rows


@settings(max_examples=100, deadline=None)
@given(content=st.binary(max_size=80) | st.text('",\n\r\0{}[]:ax', max_size=60).map(str.encode))
@pytest.mark.parametrize("extension", [".csv", ".tsv", ".jsonl", ".parquet", ".csv.gz"])
def test_any_bytes_are_read_or_refused_by_name(
    tmp_path_factory: pytest.TempPathFactory, extension: str, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("any") / f"rows{extension}"
    path.write_bytes(content if extension in (".jsonl", ".parquet", ".csv.gz") else b"text,label\n" + content)
    try:
        table = read(path)
    except InputError as error:
        assert str(error).startswith(str(path))
    else:
        assert len(table.texts) == len(table.labels) == len(table.numbers) > 0


def test_a_missing_column_is_told_with_those_there_are_and_a_guess(tmp_path: Path) -> None:
    message = refusal(tmp_path / "rows.csv", b"Text,label\na,b\n")
    assert message == ':1: no column "text"; there is: Text, label. Did you mean "Text"?'


def test_another_separator_is_recognized(tmp_path: Path) -> None:
    assert "separated by a semicolon" in refusal(tmp_path / "rows.csv", b"text;label\na;b\n")
    assert "separated by a tab" in refusal(tmp_path / "rows.csv", b"text\tlabel\na\tb\n")


def test_a_column_that_stands_twice_is_refused(tmp_path: Path) -> None:
    assert "2 times" in refusal(tmp_path / "rows.csv", b"text,label,text\na,b,c\n")


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (b"c,d,e", ":4: 3 fields where the header has 2 (text, label)"),
        (b"c", ":4: 1 field where the header has 2 (text, label)"),
        (b'"c,d', ":4: a quoted field opens in this row and never closes"),
        (b'"c"c,d', ":4: malformed row: "),
        (b'"c\nc"c,d', ":5: malformed row (the row starts in line 4): "),
        (b"c\0c,d", ":4: a NUL character at column 2"),
        (b"caf\xe9,d", ":4: broken UTF-8 at byte 4 of the line (0xe9)"),
        (b"c\r\xff,d", ":5: broken UTF-8 at byte 1 of the line (0xff)"),
        (b"c,", ":4: no label"),
        (b"c,  ", ":4: no label"),
    ],
)
def test_a_bad_csv_row_is_named_by_its_line(tmp_path: Path, row: bytes, expected: str) -> None:
    assert refusal(tmp_path / "rows.csv", b'text,label\n"a\na",b\n' + row + b"\n").startswith(expected)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (b'{"text": "a", "label": }', ":3: malformed JSON at column "),
        (b'{"text": "a", "label": ' + b"9" * 5000 + b"}", ":3: malformed JSON: "),
        (b"[" * 100_000, ":3: malformed JSON: "),
        (b'["a", "b"]', ':3: "[\\"a\\", \\"b\\"]" is no object'),
        (b'{"text": "a"}', ':3: no column "label"; there is: text.'),
        (b'{"text": "a", "label": null}', ":3: no label"),
        (b'{"text": "a", "label": NaN}', ":3: no label"),
        (b'{"text": "a", "label": ["b"]}', ':3: "label" is no text or number but list'),
        (b'{"text": 5, "label": "b"}', ':3: "text" is no text but int'),
        (b'{"text": "\\ud800", "label": "b"}', ":3: half of a surrogate pair"),
        (b'{"text": "\xff"}', ":3: broken UTF-8 at byte 11 of the line (0xff)"),
    ],
)
def test_a_bad_json_line_is_named_by_its_line(tmp_path: Path, row: bytes, expected: str) -> None:
    message = refusal(tmp_path / "rows.jsonl", b'{"text": "a", "label": "b"}\n\n' + row + b"\n")
    assert message.startswith(expected)


@pytest.mark.parametrize("name", ["rows.csv", "rows.tsv", "rows.jsonl", "rows.parquet"])
def test_an_empty_file_is_refused(tmp_path: Path, name: str) -> None:
    message = refusal(tmp_path / name, b"")
    assert "empty" in message or "Parquet" in message


def test_a_header_alone_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "rows.csv", b"text,label\n\n") == ": a header and no rows"
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"text": pa.array([], pa.string()), "label": pa.array([], pa.string())}), path)
    with pytest.raises(InputError, match="no rows"):
        read(path)


def test_utf16_is_recognized(tmp_path: Path) -> None:
    assert "it looks like UTF-16. Save the file as UTF-8." in refusal(
        tmp_path / "rows.csv", "text,label\na,b\n".encode("utf-16")
    )


def test_broken_gzip_is_refused(tmp_path: Path) -> None:
    whole = gzip.compress(b"text,label\n" + b"a,b\n" * 1000)
    assert "gzip" in refusal(tmp_path / "rows.csv.gz", whole[:-20])
    assert "gzip" in refusal(tmp_path / "rows.csv.gz", b"text,label\na,b\n")


def test_a_line_beyond_the_bound_is_refused_before_it_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_LINE", 1 << 20)
    content = gzip.compress(b"text,label\n" + b"a" * (2 << 20) + b",b\n")
    assert refusal(tmp_path / "rows.csv.gz", content).startswith(":2: a line of more than 1 MiB")


def test_a_long_text_is_read_and_the_csv_module_left_as_it_was(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    path = tmp_path / "rows.csv"
    path.write_text("text,label\n" + "a" * 1_000_000 + ",b\n")
    assert len(read(path).texts[0][0]) == 1_000_000
    assert csv.field_size_limit() == before


def test_a_field_beyond_the_bound_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimited, "MAX_FIELD", 100)
    assert refusal(tmp_path / "rows.csv", b"text,label\n" + b"a" * 200 + b",b\n").startswith(":2: a field of more")


def test_a_parquet_row_is_named_and_types_become_labels(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"text": ["a", None, "c"], "label": [1.0, 2.5, None]}), path)
    with pytest.raises(InputError, match=r"rows\.parquet, row 3: no label"):
        read(path)
    pq.write_table(pa.table({"text": pa.array(["a", None]).dictionary_encode(), "label": [True, False]}), path)
    table = read(path)
    assert table.texts == [("a",), ("",)]
    assert table.labels == ["true", "false"]
    with pytest.raises(InputError, match=r'no column "txt"; there is: text, label\. Did you mean "text"'):
        read_file(path, ["txt", "label"])


def test_a_file_that_is_not_there_is_told_with_similar_ones(tmp_path: Path) -> None:
    for name in ("train.csv", "test.csv", "notes.md"):
        (tmp_path / name).write_text("text,label\na,b\n")
    with pytest.raises(InputError, match=r"trian\.csv: no such file; in .* there is: train\.csv"):
        read(tmp_path / "trian.csv")
    with pytest.raises(InputError, match=r"a folder, not a file; inside are: test\.csv, train\.csv$"):
        read(tmp_path)
    with pytest.raises(InputError, match=r"no such file, and no folder .*nowhere either"):
        read(tmp_path / "nowhere" / "train.csv")


def test_an_unknown_extension_or_format_names_the_known_ones(tmp_path: Path) -> None:
    path = tmp_path / "rows.xlsx"
    path.write_text("text,label\na,b\n")
    with pytest.raises(UsageError, match=r'"\.xlsx" .*\.csv, .*data\.format to one of csv, tsv, jsonl, parquet'):
        read(path)
    with pytest.raises(UsageError, match=r'data\.format: unknown format "cvs".*Did you mean "csv"'):
        read(path, "cvs")
    packed = tmp_path / "rows.parquet.gz"
    packed.write_bytes(b"")
    with pytest.raises(UsageError, match="compressed inside"):
        read(packed)
