"""Files and folders that are on the disk itself, whole, or not there under their name."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from serve.delivery.zipform import BLOCK
from serve.files import sync_folder


def write_new(path: Path, blocks: Iterable[bytes]) -> str:
    """Write a file that isn't there yet, to the disk itself; returns its sha256."""
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with path.open("xb") as handle:
        for block in blocks:
            digest.update(block)
            handle.write(block)
        handle.flush()
        os.fsync(handle.fileno())
    path.chmod(0o644)
    return digest.hexdigest()


@contextlib.contextmanager
def fresh_folder(out: Path) -> Iterator[Path]:
    """A folder beside `out` that becomes it, or is removed."""
    out.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        fresh.chmod(0o755)
        yield fresh
        fresh.rename(out)
        sync_folder(out.parent)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise


@contextlib.contextmanager
def fresh_file(out: Path) -> Iterator[BinaryIO]:
    """A file beside `out` that takes its place, or is removed."""
    out.parent.mkdir(parents=True, exist_ok=True)
    number, name = tempfile.mkstemp(dir=out.parent, prefix=f".{out.name}.")
    try:
        with os.fdopen(number, "w+b", buffering=BLOCK) as handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(out)
        sync_folder(out.parent)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
