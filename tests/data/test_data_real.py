"""The real files of ../shared/data, against what their manifest says."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.data import load_dataset, profile

TEXT = Path(__file__).parents[2].parent / "shared" / "data" / "text"
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not TEXT.is_dir(), reason="../shared/data is not here"),
]


def words(rows: list[tuple[str, ...]]) -> list[int]:
    return [sum(len(text.split()) for text in texts) for texts in rows]


def test_banking77_is_as_its_manifest_says() -> None:
    folder = TEXT / "banking77"
    everything = load_dataset(
        train=folder / "train.csv",
        validation=folder / "train.csv",
        test=folder / "test.csv",
        text="text",
        label="label",
    )
    found = profile(everything, words, 128)
    train, test = found["splits"]["train"], found["splits"]["test"]
    assert (train["rows"], test["rows"], len(everything.labels)) == (10003, 3080, 77)
    assert (min(train["classes"].values()), max(train["classes"].values())) == (35, 187)
    assert set(test["classes"].values()) == {40}
    assert found["overlap"]["train_test"] == 6
    assert found["duplicates"]["rows"] == 4
    assert everything.train.sha256 == "0a3ecb72a9ca5f1ed4fcf06031f7a7d0dcf7e0adb484eff722c6025e0c761209"


def test_banking77_is_carved_in_proportion() -> None:
    folder = TEXT / "banking77"
    dataset = load_dataset(train=folder / "train.csv", text="text", label="label")
    found = profile(dataset, words, 128)
    assert found["splits"]["validation"]["rows"] == 1000
    assert found["overlap"] == {"train_validation": 0}
    for name, count in found["splits"]["validation"]["classes"].items():
        whole = count + found["splits"]["train"]["classes"][name]
        assert abs(count - whole * 1000 / 10003) < 1


def test_clinc150_is_as_its_manifest_says() -> None:
    folder = TEXT / "clinc150"
    dataset = load_dataset(
        train=folder / "train.csv",
        validation=folder / "dev.csv",
        test=folder / "test.csv",
        text="text",
        label="label",
    )
    found = profile(dataset, words, 128)
    assert [split["rows"] for split in found["splits"].values()] == [15100, 3100, 5500]
    assert len(dataset.labels) == 151
    assert found["splits"]["train"]["classes"]["oos"] == 100
    assert found["splits"]["test"]["classes"]["oos"] == 1000


def test_jsts_is_a_regression_on_pairs() -> None:
    folder = TEXT / "jglue_jsts"
    dataset = load_dataset(
        train=folder / "train.csv.gz",
        validation=folder / "dev.csv.gz",
        test=folder / "test.csv.gz",
        text=["sentence1", "sentence2"],
        label="score",
    )
    assert dataset.task == "text-regression"
    assert [len(split.texts) for split in dataset.splits()] == [12451, 1457, 1589]
    numbers = profile(dataset, words, 128)["splits"]["train"]["numbers"]
    assert (numbers["min"], numbers["max"]) == (0.0, 5.0)
