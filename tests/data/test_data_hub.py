"""A Hugging Face dataset, read by the real library from a local folder, offline."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.data import load_dataset
from serve.errors import InputError, MissingDependency


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    root = tmp_path / "tickets"
    root.mkdir()
    (root / "train.csv").write_text("text,label\n" + "".join(f"text {i},{'ab'[i % 2]}\n" for i in range(40)))
    (root / "test.csv").write_text("text,label\nnew,b\n")
    return root


def load(folder: Path, **more: Any) -> Any:
    return load_dataset(**{"train": None, "text": "text", "label": "label", "dataset": str(folder), **more})


def test_a_folder_is_read_by_split_and_hashed_by_its_rows(folder: Path) -> None:
    dataset = load(folder, test="test")
    assert dataset.labels == ("a", "b")
    assert len(dataset.train.texts) + len(dataset.validation.texts) == 40
    assert dataset.test.texts == [("new",)]
    assert dataset.test.labels == [1]
    assert dataset.test.source == f"{folder}#test"
    assert dataset.validation.source == f"{folder}#train (from train)"
    before = dataset.train.sha256
    assert load(folder).train.sha256 == before
    with (folder / "train.csv").open("a") as handle:
        handle.write("one more,a\n")
    assert load(folder).train.sha256 != before


def test_class_label_numbers_become_their_names(folder: Path) -> None:
    _declare(folder, ["zeta", "alpha"])
    (folder / "train.csv").write_text("text,label\n" + "".join(f"text {i},{i % 2}\n" for i in range(10)))
    (folder / "test.csv").write_text("text,label\nnew,0\n")
    dataset = load(folder, test="test")
    assert dataset.labels == ("alpha", "zeta")
    assert dataset.test.labels == [1]


def test_a_split_without_labels_is_refused(folder: Path) -> None:
    _declare(folder, ["zeta", "alpha"])
    (folder / "train.csv").write_text("text,label\na,0\nb,1\n")
    (folder / "test.csv").write_text("text,label\na,0\nb,-1\n")
    with pytest.raises(InputError, match=r"tickets#test, row 2: the label is -1, which says that this split has none"):
        load(folder, test="test")


def test_unknown_columns_splits_configurations_and_labels_are_told(folder: Path) -> None:
    with pytest.raises(
        InputError, match=r'tickets#train: no column "texts"; there is: text, label\. Did you mean "text"'
    ):
        load(folder, text="texts")
    with pytest.raises(InputError, match=r"tickets#dev: can't be loaded: .*train"):
        load(folder, validation="dev")
    with pytest.raises(InputError, match=r"tickets/german#train: can't be loaded: .*default"):
        load(folder, dataset_config="german")
    (folder / "test.csv").write_text("text,label\nnew,c\n")
    with pytest.raises(InputError, match=r'tickets#test, row 1: the label "c" doesn\'t occur in'):
        load(folder, test="test")


def test_a_hub_out_of_reach_is_one_line(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="can't reach the hub") as caught:
        load(Path("nobody/nothing"))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingDependency, match=r"svfit\[train\]"):
        load(Path("tickets"))


def _declare(folder: Path, names: list[str]) -> None:
    features = [
        {"name": "text", "dtype": "string"},
        {"name": "label", "dtype": {"class_label": {"names": {str(i): name for i, name in enumerate(names)}}}},
    ]
    (folder / "README.md").write_text("---\n" + json.dumps({"dataset_info": {"features": features}}) + "\n---\n")
