"""What is told of a tagger's data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipeline.data.entities import load_entities
from pipeline.data.entity_profile import profile_entities

Row = tuple[str, list[tuple[int, int, str]]]


def described(folder: Path, train: list[Row], validation: list[Row], max_length: int = 4) -> dict[str, Any]:
    for name, rows in (("train", train), ("dev", validation)):
        lines = [json.dumps({"text": text, "spans": spans}) for text, spans in rows]
        (folder / f"{name}.jsonl").write_text("\n".join(lines))
    dataset = load_entities(train=folder / "train.jsonl", validation=folder / "dev.jsonl")
    found = profile_entities(dataset, lambda texts: [len(text.split()) for (text,) in texts], max_length)
    assert json.loads(json.dumps(found)) == found
    return found


def test_entities_words_and_lengths_are_counted(tmp_path: Path) -> None:
    rows: list[Row] = [("a b c d e", [(0, 1, "x"), (2, 3, "x"), (4, 7, "y")]), ("none", []), ("ab", [(0, 1, "x")])]
    found = described(tmp_path, rows, [("q", [(0, 1, "x")])])
    train = found["splits"]["train"]
    assert found["labels"] == ["x", "y"]
    assert train["entities"] == {"x": 3, "y": 1}
    assert (train["rows"], train["words"], train["without"], train["widened"]) == (3, 7, 1, 1)
    assert train["tokens"]["truncated"] == 1
    assert found["missing"] == {"train": [], "validation": ["y"]}
    assert found["few_entities"] == {"below": 20, "kinds": {"x": 3, "y": 1}}
    assert found["warnings"] == [
        "1 span of train begins or ends within a word, which is taken whole.",
        "2 kinds have fewer than 20 entities in train: x (3), y (1).",
        "1 kind has no entity in validation: y.",
    ]


def test_what_is_repeated_and_contradicted_is_told(tmp_path: Path) -> None:
    rows: list[Row] = [("a b", [(0, 1, "x")]), ("a b", [(2, 3, "x")]), ("a b", [(0, 1, "x")]), ("", [])]
    found = described(tmp_path, rows * 10, [("a b ", [(0, 1, "x")])])
    assert found["overlap"] == {"train_validation": 1}
    assert found["duplicates"]["rows"] == 38
    assert found["duplicates"]["examples"][0]["labels"][:2] == ["x 0-1", "x 2-3"]
    assert found["warnings"][0].startswith("1 row of validation has a text that is in train too")
    assert found["warnings"][1].startswith("1 text stands in train with different labels")
    assert found["warnings"][3] == "10 rows of train have an empty text, first at 4, 8, 12, 16, 20."
