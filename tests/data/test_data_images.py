"""Labelled images from folders, tables and Hugging Face datasets; what can't be used is named by its place."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest
from image_files import noise, saved

from pipeline.data.images import IMAGES, load_images
from serve.errors import InputError, TooLarge, UsageError


def fill(folder: Path, labels: dict[str, int], first: int = 0) -> Path:
    """An image folder with so many pictures of each label, all different."""
    for label, count in labels.items():
        (folder / label).mkdir(parents=True)
        for number in range(count):
            first += 1
            (folder / label / f"{number}.png").write_bytes(saved(noise(4, 5, first)))
    return folder


def table(path: Path, rows: list[tuple[str, str]]) -> Path:
    with path.open("w", newline="") as handle:
        csv.writer(handle).writerows([("image", "label"), *rows])
    return path


def test_a_folder_of_labels_is_read_and_carved(tmp_path: Path) -> None:
    folder = fill(tmp_path / "pets", {"dog": 10, "cat": 20})
    (folder / "cat" / ".DS_Store").write_bytes(b"x")
    found = load_images(train=folder, validation_share=0.2)
    assert (found.task, found.labels) == (IMAGES, ("cat", "dog"))
    assert [len(split.images) for split in found.splits()] == [24, 6]
    assert found.train.texts == []
    assert sorted(set(found.validation.labels)) == [0, 1]
    assert found.validation.source == f"{folder} (from train)"
    picture = found.train.images[0]
    assert (picture.width, picture.height) == (5, 4)
    assert picture.read() == Path(picture.named).read_bytes()


def test_a_folder_of_splits_gives_them_all(tmp_path: Path) -> None:
    for at, (split, count) in enumerate({"train": 3, "val": 2, "test": 1}.items()):
        fill(tmp_path / split, {"a": count, "b": count}, 100 * at)
    found = load_images(train=tmp_path)
    assert [len(split.images) for split in found.splits()] == [6, 4, 2]
    assert found.validation.source == str(tmp_path / "val")


def test_folders_below_a_label_belong_to_it(tmp_path: Path) -> None:
    fill(tmp_path / "x" / "a", {"one": 2, "two": 2})
    fill(tmp_path / "x" / "b", {"one": 2}, 50)
    assert [len(split.images) for split in load_images(train=tmp_path / "x", validation_share=0.3).splits()] == [4, 2]


def test_the_same_image_is_never_on_both_sides(tmp_path: Path) -> None:
    folder = fill(tmp_path / "x", {"a": 6, "b": 6})
    for number in range(6):
        (folder / "a" / f"copy{number}.png").write_bytes((folder / "a" / "0.png").read_bytes())
    for seed in range(5):
        found = load_images(train=folder, validation_share=0.4, seed=seed)
        train, validation = ({picture.sha256 for picture in split.images} for split in found.splits())
        assert not train & validation


def test_a_table_names_paths_beside_it(tmp_path: Path) -> None:
    folder = fill(tmp_path / "pics", {"x": 8})
    rows = [(f"pics/x/{n}.png", "good" if n % 2 else "bad") for n in range(8)]
    found = load_images(train=table(tmp_path / "train.csv", rows), validation_share=0.25)
    assert found.labels == ("bad", "good")
    assert found.train.images[0].source == folder / "x" / "0.png"
    assert found.train.images[0].named == f"{tmp_path}/train.csv:2: pics/x/0.png"
    lines = [{"image": path, "label": label} for path, label in rows]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, lines)))
    again = load_images(train=tmp_path / "train.jsonl", validation_share=0.25)
    assert again.train.sha256 == found.train.sha256


def test_parquet_holds_bytes_as_such_or_as_hugging_face_does(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    files = [saved(noise(4, 5, seed)) for seed in range(6)]
    labels = ["a", "b"] * 3
    for images in (files, [{"bytes": data, "path": None} for data in files]):
        path = tmp_path / "train.parquet"
        parquet.write_table(pyarrow.table({"image": images, "label": labels}), path)
        found = load_images(train=path, validation_share=0.3)
        assert [split.images[0].read() in files for split in found.splits()] == [True, True]


def test_a_hugging_face_dataset_is_read_undecoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"pic": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    files = [{"bytes": saved(noise(4, 5, seed)), "path": None} for seed in range(6)]
    made = datasets.Dataset.from_dict({"pic": files, "label": [0, 1] * 3}, features=features)
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: made)
    found = load_images(train=None, dataset="some/pictures", image="pic", validation_share=0.3)
    assert found.labels == ("a", "b")
    assert found.train.images[0].read() == files[0]["bytes"]
    assert found.train.images[0].named == "some/pictures#train, row 1"


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        ("bad.png", b"nothing", "bad.png: not an image that svfit reads"),
        ("bad.png", b"", "bad.png: empty"),
        ("bad.heic", b"x", "bad.heic: not an image by its ending"),
    ],
)
def test_a_file_that_is_no_image_is_named(tmp_path: Path, name: str, data: bytes, told: str) -> None:
    folder = fill(tmp_path / "x", {"a": 2, "b": 2})
    (folder / "a" / name).write_bytes(data)
    with pytest.raises(InputError, match=re.escape(told)):
        load_images(train=folder)


def test_a_bad_row_of_a_table_is_named_by_its_line(tmp_path: Path) -> None:
    fill(tmp_path, {"a": 2})
    for cell, told in (
        ("a/9.png", "train.csv:3: a/9.png: can't be read (No such file"),
        ("", "train.csv:3: an image's path or bytes are needed, here it is empty"),
        ("train.csv", "train.csv:3: train.csv: not an image"),
    ):
        path = table(tmp_path / "train.csv", [("a/0.png", "x"), (cell, "y")])
        with pytest.raises(InputError, match=re.escape(told)):
            load_images(train=path)
    with pytest.raises(InputError, match=r"train\.csv:3: no label"):
        load_images(train=table(tmp_path / "train.csv", [("a/0.png", "x"), ("a/1.png", "")]))


def test_a_huge_image_is_refused_by_its_header(tmp_path: Path) -> None:
    from PIL import Image

    folder = fill(tmp_path / "x", {"a": 2, "b": 2})
    (folder / "b" / "huge.png").write_bytes(saved(Image.new("1", (8000, 8000))))
    with pytest.raises(TooLarge, match=r"huge\.png: 8000 × 8000 pixels"):
        load_images(train=folder)


def test_labels_that_train_lacks_are_named_by_the_image(tmp_path: Path) -> None:
    fill(tmp_path / "train", {"cat": 2, "dog": 2})
    fill(tmp_path / "val", {"cat": 1, "dgo": 1}, 50)
    with pytest.raises(InputError, match=r"val/dgo/0\.png: the label \"dgo\" doesn't occur .* Did you mean \"dog\""):
        load_images(train=tmp_path)


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        ({}, "no folders in it"),
        ({"a": 1, "b": 0}, "b: no image in it"),
        ({"a": 4}, "every row has the same label"),
        ({"train": 1, "cat": 1}, 'beside "train" there is cat'),
        ({"train": 1, "val": 1, "dev": 1}, "which of val, dev is it"),
    ],
)
def test_a_folder_that_says_no_labels_is_refused(tmp_path: Path, labels: dict[str, int], told: str) -> None:
    tmp_path.joinpath("x").mkdir()
    with pytest.raises(InputError, match=re.escape(told)):
        load_images(train=fill(tmp_path / "x", labels))


def test_an_image_that_changed_meanwhile_is_refused(tmp_path: Path) -> None:
    found = load_images(train=fill(tmp_path / "x", {"a": 3, "b": 3}))
    picture = found.train.images[0]
    Path(picture.named).write_bytes(saved(noise(4, 5, 999)))
    with pytest.raises(InputError, match="changed since the data was read"):
        picture.read()


def test_no_source_is_refused() -> None:
    with pytest.raises(UsageError, match=r"data\.train"):
        load_images(train=None)
    with pytest.raises(InputError, match="no such file"):
        load_images(train="/nowhere/train.csv")
