"""Image files one at a time, for whoever asks a bundle about many."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from serve.errors import InputError
from serve.images.decode import LIMITS, SUFFIXES, Limits, image_bytes


def image_rows(paths: Iterable[str | Path], limits: Limits = LIMITS) -> Iterator[tuple[str, bytes]]:
    """Each image's path as it is shown, and its file's bytes, not decoded; of a folder all images in it, by name.

    Raises InputError for a file that can't be read and a folder without images, TooLarge for one over the limit.
    """
    for given in paths:
        path = Path(given)
        for found in _images(path) if path.is_dir() else [path]:
            yield str(found), image_bytes(found, str(found), limits)


def _images(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not found:
        raise InputError(f"{folder}: no image in it; known endings: {', '.join(SUFFIXES)}")
    return found
