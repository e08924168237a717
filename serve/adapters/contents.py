"""Files of the adapters that came later, in folders named by their content: whole, or not there under that name."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

from serve.adapters.adapter import DOCUMENT, TENSORS, Files
from serve.files import sha256_json, sync_folder

_HEX64 = re.compile(r"[0-9a-f]{64}")
_NEW = ".new-"


def digest(document: str, tensors: str) -> str:
    """The sha256 of an adapter's content, from those of its two files; hex throughout."""
    return sha256_json({DOCUMENT: document, TENSORS: tensors})


def digest_files(files: Files) -> str:
    """The same from the files' bytes."""
    first, second = (hashlib.sha256(data).hexdigest() for data in files)
    return digest(first, second)


class Contents:
    """A folder of folders. Whoever writes or collects holds the store's write lock, so no two do at once."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, files: Files) -> str:
        """Keep files, on the disk itself before it returns; gives their digest. Raises OSError."""
        sha256 = digest_files(files)
        place = self.root / sha256
        if self._same(place, files):
            return sha256
        fresh = self.root / f"{_NEW}{secrets.token_hex(8)}"
        fresh.mkdir()
        for name, data in zip((DOCUMENT, TENSORS), files, strict=True):
            with (fresh / name).open("wb") as handle:
                handle.write(data)
                handle.flush()
                os.fsync(handle.fileno())
        sync_folder(fresh)
        shutil.rmtree(place, ignore_errors=True)  # in pieces: its removal was cut short, or the disk failed
        fresh.rename(place)
        sync_folder(self.root)
        return sha256

    def collect(self, used: Callable[[str], bool], among: set[str] | None = None) -> None:
        """Remove content that isn't used, of these digests or all, and what a killed process left half done."""
        for name in [path.name for path in self.root.iterdir()] if among is None else among:
            if name.startswith(_NEW) or (_HEX64.fullmatch(name) and not used(name)):
                shutil.rmtree(self.root / name, ignore_errors=True)

    def _same(self, place: Path, files: Files) -> bool:
        try:
            return all(
                (place / name).stat().st_size == len(data) and (place / name).read_bytes() == data
                for name, data in zip((DOCUMENT, TENSORS), files, strict=True)
            )
        except OSError:
            return False
