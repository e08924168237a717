"""Pairs with scores, positives and triplets: read, told apart, carved and refused by line."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from pipeline.data.pairs import EMBEDDING, load_pairs
from serve.errors import InputError, UsageError

SCORED = "a,b,score\n" + "".join(f"text {row},other {row},{row % 5}\n" for row in range(40))
POSITIVE = "a,b,score\n" + "".join(f"question {row // 2},answer {row},\n" for row in range(40))


def write(folder: Path, text: str, name: str = "train.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


KINDS = {kind: (kind,) for kind in ("scores", "positives", "triplets")}


def load(path: Path, **options: Any) -> Any:
    dataset = load_pairs(**{"train": path, "text": ["a", "b"], "label": "score", "metrics": KINDS, **options})
    return dataset, dataset.metrics[0]


def test_a_label_column_that_is_there_makes_them_scores(tmp_path: Path) -> None:
    dataset, kind = load(write(tmp_path, SCORED))
    assert (dataset.task, dataset.labels, kind) == (EMBEDDING, (), "scores")
    assert len(dataset.train.texts) + len(dataset.validation.texts) == 40
    row = dataset.train.lines.index(9)
    assert (dataset.train.texts[row], dataset.train.labels[row]) == (("text 7", "other 7"), 2 / 4)


def test_without_that_column_they_are_positives_and_first_texts_stay_together(tmp_path: Path) -> None:
    dataset, kind = load(write(tmp_path, POSITIVE), label="label", validation_share=0.25)
    assert kind == "positives"
    assert all(map(math.isnan, dataset.train.labels))
    firsts = [{texts[0] for texts in split.texts} for split in (dataset.train, dataset.validation)]
    assert len(dataset.validation.texts) == 10
    assert not firsts[0] & firsts[1]


def test_three_columns_are_triplets(tmp_path: Path) -> None:
    rows = [{"a": f"q {row}", "b": f"yes {row}", "c": f"no {row}"} for row in range(20)]
    path = write(tmp_path, "\n".join(map(json.dumps, rows)), "train.jsonl")
    dataset, kind = load(path, validation=path, text=["a", "b", "c"])
    assert kind == "triplets"
    assert dataset.train.texts[0] == ("q 0", "yes 0", "no 0")


def test_positives_can_be_asked_for_where_a_label_column_is_there(tmp_path: Path) -> None:
    dataset, kind = load(write(tmp_path, SCORED), pairs="positives")
    assert kind == "positives"
    assert all(map(math.isnan, dataset.train.labels))


def test_splits_of_their_own_are_read_alike_and_the_files_are_hashed(tmp_path: Path) -> None:
    train, other = write(tmp_path, SCORED), write(tmp_path, SCORED, "test.csv")
    dataset, _ = load(train, validation=other, test=other)
    assert dataset.test is not None
    assert dataset.train.sha256 == dataset.test.sha256
    assert len(dataset.train.texts) == len(dataset.validation.texts) == 40


def test_the_same_seed_carves_the_same_rows(tmp_path: Path) -> None:
    path = write(tmp_path, POSITIVE)
    found = [load(path, pairs="positives", seed=seed)[0].validation for seed in (1, 1, 2)]
    assert found[0] == found[1]
    assert found[0].sha256 != found[2].sha256


def test_a_parquet_and_a_hub_folder_give_the_same_rows(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    rows = {"a": ["x", "y", "z"], "b": ["1", "2", "3"], "score": [0.5, 1.0, 0.0]}
    folder = tmp_path / "hub"
    folder.mkdir()
    datasets.Dataset.from_dict(rows).to_parquet(str(folder / "train.parquet"))
    of_file, _ = load(folder / "train.parquet", validation=folder / "train.parquet")
    of_hub, kind = load(None, dataset=str(folder), validation="train")
    assert kind == "scores"
    assert of_hub.train.texts == of_file.train.texts == [("x", "1"), ("y", "2"), ("z", "3")]
    assert of_hub.train.labels == [0.5, 1.0, 0.0]
    assert of_hub.train.source.endswith("#train")
    positives, kind = load(None, dataset=str(folder), validation="train", label="label")
    assert kind == "positives"
    assert positives.train.sha256 != of_hub.train.sha256


@pytest.mark.parametrize(
    ("text", "options", "told"),
    [
        ("a,b,score\nx,y,1\nx,,2\n", {}, "train.csv:3: text 2 of 2 is empty"),
        ("a,b,score\nx,y,1\nx,z,high\n", {}, 'train.csv:3: the label "high" is no finite number'),
        ("a,b,score\nx,y,1\nx,z,\n", {}, "train.csv:3: no label"),
        ("a,b,score\nx,y,3\nx,z,3\n", {}, "every pair has the same score 3"),
        ("a,b\nx,y\n", {"pairs": "scores"}, 'no column "score"'),
        ("a,c\nx,y\n", {}, 'no column "b"'),
        ("a,b,c\nx,y,z\nx,y,y \n", {"text": ["a", "b", "c"]}, "train.csv:3: "),
        ("", {}, "is empty"),
    ],
)
def test_rows_that_cannot_be_learned_from_are_named(
    tmp_path: Path, text: str, options: dict[str, Any], told: str
) -> None:
    with pytest.raises(InputError) as caught:
        load(write(tmp_path, text), **options)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"text": "a"}, "from two columns"),
        ({"text": ["a", "a"]}, "named twice"),
        ({"text": ["a", "score"]}, "named twice"),
        ({"pairs": "triplets"}, "triplets takes 3 columns"),
        ({"pairs": "score"}, "Did you mean"),
        ({"train": None}, "data.train"),
        ({"dataset_config": "en"}, "data.dataset_config"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_told(tmp_path: Path, options: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        load(write(tmp_path, SCORED), **options)


def test_a_file_that_is_not_there_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load(tmp_path / "none.csv")
