"""Guessing which columns are text and label."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.config.guess import guess
from serve.errors import InputError


@pytest.mark.parametrize(
    ("header", "row", "text", "label"),
    [
        ("text,label", "pump leaks,plumbing", "text", "label"),
        ("id,Message,Category", "1,pump leaks,plumbing", "Message", "Category"),
        ("label,sentence2,sentence1", "1,b,a", ["sentence1", "sentence2"], "label"),
        ("what,kind", "the pump on line three leaks,water", "what", "kind"),
    ],
)
def test_columns_are_guessed_from_names_and_contents(
    tmp_path: Path, header: str, row: str, text: str | list[str], label: str
) -> None:
    path = tmp_path / "train.csv"
    path.write_text(f"{header}\n{row}\n{row}\n")
    found = guess(path)
    assert (found.text, found.label) == (text, label)


def test_unnamed_labels_are_the_column_with_the_fewest_values(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{"what": f"line {i} leaks", "kind": i % 2, "where": i} for i in range(6)]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    found = guess(path)
    assert (found.text, found.label) == ("what", "kind")


@pytest.mark.parametrize(
    ("name", "content", "text", "label"),
    [
        ("train.conll", "Berlin\tB-place\n", "text", "label"),
        ("train.jsonl", json.dumps({"id": 1, "text": "in Berlin", "spans": [[3, 9, "place"]]}), "text", "spans"),
        ("train.jsonl", json.dumps({"tokens": ["Berlin"], "ner_tags": ["B-place"]}), "tokens", "ner_tags"),
    ],
)
def test_entities_are_told_by_an_ending_or_by_lists(
    tmp_path: Path, name: str, content: str, text: str, label: str
) -> None:
    (tmp_path / name).write_text(content)
    (tmp_path / name.replace("train", "dev")).write_text(content)
    found = guess(tmp_path / name)
    assert (found.text, found.label, found.task) == (text, label, "token-classification")
    assert found.validation == tmp_path / name.replace("train", "dev")


def test_files_of_other_splits_beside_it_are_found(tmp_path: Path) -> None:
    for name in ("train.tsv", "dev.tsv", "test.tsv"):
        (tmp_path / name).write_text("text\tlabel\na\tb\n")
    found = guess(tmp_path / "train.tsv")
    assert (found.validation, found.test) == (tmp_path / "dev.tsv", tmp_path / "test.tsv")
    assert guess(tmp_path / "test.tsv").test is None


def test_parquet_is_looked_into(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "train.parquet"
    parquet.write_table(pyarrow.table({"body": ["a", "b"], "target": [0, 1]}), path)
    found = guess(path)
    assert (found.text, found.label) == ("body", "target")
    path.write_bytes(b"not parquet at all")
    with pytest.raises(InputError, match="not a Parquet file"):
        guess(path)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "at least two columns"),
        (b"text\nonly one\n", "found: text"),
        (b"premise,hypothesis\na,b\n", "no column for the label"),
        (b"text,label\n\xff\xfe,x\n", "can't be read"),
    ],
)
def test_a_table_without_text_and_label_is_refused(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "train.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=problem):
        guess(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        guess(tmp_path / "train.csv")


def test_another_separator_than_the_comma_is_told(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text;label\na;b\n")
    with pytest.raises(InputError, match="separated by a semicolon"):
        guess(path)
