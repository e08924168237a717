"""The work orders keep the promises of their README."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import load
from pipeline.data.entities import load_entities
from pipeline.data.spans import widened

FOLDER = Path(__file__).resolve().parents[1] / "examples" / "workorders"
ROWS = {"train": 240, "validation": 60, "test": 60}
KINDS = {"machine", "part", "place", "time"}


def read(split: str) -> list[dict[str, Any]]:
    """Rows of one split; bytes that aren't UTF-8 raise."""
    lines = (FOLDER / f"{split}.jsonl").read_text(encoding="utf-8", errors="strict").splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("split", ROWS)
def test_readme_states_the_counts_that_the_files_have(split: str) -> None:
    rows = read(split)
    assert len(rows) == ROWS[split]
    entities = sum(len(row["spans"]) for row in rows)
    assert f"| `{split}.jsonl` | {len(rows)} | {entities} |" in (FOLDER / "README.md").read_text(encoding="utf-8")
    assert {span["label"] for row in rows for span in row["spans"]} == KINDS


def test_no_text_occurs_twice_in_or_across_splits() -> None:
    seen = Counter(row["text"].casefold() for split in ROWS for row in read(split))
    assert [text for text, count in seen.items() if count > 1] == []


def test_spans_are_whole_words_that_the_product_reads() -> None:
    files = {split: FOLDER / f"{split}.jsonl" for split in ROWS}
    dataset = load_entities(train=files["train"], validation=files["validation"], test=files["test"])
    for split in dataset.splits():
        for (text,), spans in zip(split.texts, split.labels, strict=True):
            assert widened(spans, text) == 0
            assert all(text[span.start : span.end] == text[span.start : span.end].strip() for span in spans)


def test_a_sixth_of_the_names_is_not_in_train() -> None:
    def names(split: str) -> set[str]:
        spans = [(row["text"], span) for row in read(split) for span in row["spans"]]
        return {text[span["start"] : span["end"]].casefold() for text, span in spans}

    assert 8 <= len((names("validation") | names("test")) - names("train")) <= 20


def test_the_configuration_is_valid_and_names_the_files() -> None:
    config = load(FOLDER / "workorders.toml", require_files=True)
    assert config.data.task == "token-classification"
