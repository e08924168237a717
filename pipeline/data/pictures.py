"""Labelled images of one source: a folder of folders, a table of paths or bytes, a Hugging Face dataset."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from pipeline.data.hub import open_hub
from pipeline.data.readers import READERS, Reader, check_there, format_of
from pipeline.data.table import Row, Table, build_table, pick_columns, place
from pipeline.data.wording import listed, quoted
from serve.errors import InputError
from serve.files import sha256_json
from serve.images.decode import SUFFIXES, image_bytes, read_header

Labelled = Iterator[tuple[int, str, object, object]]
"""Number in the source, what messages call the row, where its image is (a path, bytes, or both), its label."""


@dataclass(frozen=True)
class Picture:
    """An image as it lies there, its header checked: `source` is its file, or its bytes; width and height in pixels,
    as stored (EXIF may turn them); `named` is what messages call it."""

    source: Path | bytes
    named: str
    sha256: str
    width: int
    height: int

    def read(self) -> bytes:
        """The image's file. Raises InputError where it isn't what it was when the data was read."""
        data = image_bytes(self.source, self.named)
        if isinstance(self.source, Path) and hashlib.sha256(data).hexdigest() != self.sha256:
            raise InputError(f"{self.named}: changed since the data was read; start again")
        return data


@dataclass(frozen=True)
class PictureTable(Table):
    """Rows of images: `texts[i]` is the hash of an image's bytes alone, `pictures[i]` the image."""

    pictures: list[Picture]

    def at(self, index: int) -> str:
        return self.pictures[index].named


def read_folder(folder: Path) -> PictureTable:
    """An image folder: one folder a label, images anywhere below it; what is hidden is passed over.

    Raises InputError for a folder without labels or a label without images, for a file in one that is no image, and
    for an image that can't be used.
    """

    def rows() -> Labelled:
        number = 0
        for label in _subfolders(folder):
            files = sorted(path for path in label.rglob("*") if path.is_file() and not _hidden(path, folder))
            if not files:
                raise InputError(f"{label}: no image in it; put some there, or remove the folder")
            for path in files:
                number += 1
                if path.suffix.lower() not in SUFFIXES:
                    raise InputError(f"{path}: not an image by its ending; known are {', '.join(SUFFIXES)}")
                yield number, str(path), path, label.name

    if not _subfolders(folder):
        raise InputError(f"{folder}: no folders in it; an image folder holds one folder a label, images inside")
    return _table(str(folder), False, rows(), "label")


def read_table(path: Path, image: str, label: str, file_format: str = "auto") -> PictureTable:
    """A CSV, TSV, JSON lines or Parquet file: column `image` holds paths, relative to the file, or (Parquet) bytes.

    Raises UsageError for an unknown format; InputError, with file and line, for a broken file or an image that can't be
    used.
    """
    check_there(path)
    chosen = format_of(path, file_format)
    module, _, name = READERS[chosen].partition(":")
    reader = cast(Reader, getattr(importlib.import_module(module), name))
    return _table(str(path), chosen != "parquet", _placed(reader(path, (image, label)), path, chosen), label)


def read_hub(name: str, config: str | None, split: str, image: str, label: str) -> PictureTable:
    """A split of a Hugging Face dataset: column `image` is of its feature Image, or holds bytes or paths.

    Raises as `open_hub`, and InputError for a missing column or an image that can't be used.
    """
    datasets, data, source = open_hub(name, config, split)
    pick_columns(source, list(data.column_names), (image, label))
    if isinstance(data.features[image], datasets.Image):
        data = data.cast_column(image, datasets.Image(decode=False))
    names = data.features[label].names if isinstance(data.features[label], datasets.ClassLabel) else None

    def rows() -> Labelled:
        for number, row in enumerate(data.select_columns([image, label]), start=1):
            found, where = row[label], place(source, False, number)
            if names is not None and found is not None:
                if found < 0:
                    raise InputError(f"{where}: the label is {found}, which says that this split has none")
                found = names[found]
            yield number, where, row[image], found

    return _table(source, False, rows(), label)


def split_folders(folder: Path) -> dict[str, Path]:
    """The folders `train`, `validation` (or `valid`, `val`, `dev`) and `test` in an image folder, if it has `train`."""
    there = {path.name.lower(): path for path in _subfolders(folder)}
    if "train" not in there:
        return {}
    known = {"train": ("train",), "validation": ("validation", "valid", "val", "dev"), "test": ("test",)}
    found = {split: [there.pop(name) for name in names if name in there] for split, names in known.items()}
    several = next((paths for paths in found.values() if len(paths) > 1), None)
    if several:
        raise InputError(f"{folder}: which of {listed(path.name for path in several)} is it? name it in the data table")
    if there:
        raise InputError(
            f"{folder}: beside {quoted('train')} there is {listed(sorted(there))}; a folder holds splits or labels,"
            " not both"
        )
    return {split: paths[0] for split, paths in found.items() if paths}


def _table(source: str, by_line: bool, rows: Labelled, label: str) -> PictureTable:
    pictures: list[Picture] = []

    def hashed() -> Iterator[Row]:
        for number, where, found, own in rows:
            pictures.append(_picture(found, where))
            yield number, (pictures[-1].sha256, own)

    table = build_table(source, by_line, hashed(), ("image", label), lambda: "")
    digest = sha256_json([[*keys, own] for keys, own in zip(table.texts, table.labels, strict=True)])
    return PictureTable(source, by_line, table.texts, table.labels, table.numbers, digest, pictures)


def _placed(rows: Iterator[Row], path: Path, chosen: str) -> Labelled:
    for number, (found, label) in rows:
        where = place(str(path), chosen != "parquet", number)
        if isinstance(found, Mapping) and not found.get("bytes") and isinstance(found.get("path"), str):
            found = found["path"]
        if isinstance(found, str) and found.strip():
            yield number, f"{where}: {found.strip()}", path.parent / found.strip(), label
        else:
            yield number, where, found, label


def _picture(found: object, where: str) -> Picture:
    """Raises InputError or TooLarge that begins with `where`."""
    if isinstance(found, Mapping):  # the form of Hugging Face's feature Image, also in its Parquet files
        found = found.get("bytes") or found.get("path")
    if isinstance(found, str) and found:
        found = Path(found)
    if not isinstance(found, Path | bytes) or not found:
        told = "empty" if not found else f"{type(found).__name__} ({quoted(found, 30)})"
        raise InputError(f"{where}: an image's path or bytes are needed, here it is {told}")
    data = image_bytes(found, where)
    header = read_header(data, where)
    return Picture(found, where, hashlib.sha256(data).hexdigest(), header.width, header.height)


def _subfolders(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise InputError(f"{folder}: can't be read: {error.strerror or error}") from error


def _hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts) or path.name == "Thumbs.db"
