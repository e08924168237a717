"""Labelled images in, a dataset out: splits found, classes settled, a validation split carved if there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.data.carve import carve, parted
from pipeline.data.dataset import Dataset, Split
from pipeline.data.labels import class_indices, class_names
from pipeline.data.pictures import PictureTable, read_folder, read_hub, read_table, split_folders
from pipeline.data.readers import first_source

IMAGES = "image-classification"


def load_images(
    *,
    train: str | Path | None,
    validation: str | Path | None = None,
    test: str | Path | None = None,
    image: str = "image",
    label: str = "label",
    augment: Sequence[str] = (),
    validation_share: float = 0.1,
    seed: int = 0,
    format: str = "auto",  # noqa: A002  the configuration's own word
    dataset: str | None = None,
    dataset_config: str | None = None,
) -> Dataset:
    """Read an image classifier's data.

    `train`, `validation` and `test` are image folders (a folder a label) or files with the columns `image` and
    `label`; a folder that holds `train` and no labels gives the splits that it has. With `dataset` they are names of
    its splits, as in `load.load_dataset`. A split's `images[i]` is a `Picture`, its texts are empty. Without
    `validation`, `validation_share` of the training rows becomes it, the same image never on both sides. `augment` is
    handed on with the training rows. Every image's header is checked, none is decoded. Raises UsageError, InputError
    (with file and line), TooLarge and MissingDependency.
    """
    train = first_source(train, dataset, dataset_config, "a folder or file with the training images")
    if dataset is None and Path(train).is_dir():
        found = split_folders(Path(train))
        train = found.get("train", train)
        validation = validation if validation is not None else found.get("validation")
        test = test if test is not None else found.get("test")

    def read(split: str | Path) -> PictureTable:
        if dataset is not None:
            return read_hub(dataset, dataset_config, str(split), image, label)
        path = Path(split)
        return read_folder(path) if path.is_dir() else read_table(path, image, label, format)

    table = read(train)
    names = class_names(table)

    def split_of(name: str, rows: PictureTable) -> Split:
        labels = class_indices(rows, names, table.source)
        return Split(name, [], labels, rows.source, rows.sha256, list(rows.numbers), list(rows.pictures))

    whole = split_of("train", table)
    if validation is not None:
        parts = whole, split_of("validation", read(validation))
    else:
        parts = _carved(table, whole, names, validation_share, seed)
    learned, chosen = parts
    tested = split_of("test", read(test)) if test is not None else None
    return Dataset(IMAGES, names, replace(learned, augment=tuple(augment)), chosen, tested)


def _carved(table: PictureTable, whole: Split, names: Sequence[str], share: float, seed: int) -> tuple[Split, Split]:
    labels = [int(label) for label in whole.labels]
    kept, taken = carve(table.texts, labels, share, seed, classes=True)
    return parted(whole, kept, taken, [[*table.texts[row], names[labels[row]]] for row in taken])
