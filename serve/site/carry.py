"""Adapters that came later go along to a release on the same base: their files linked, their registry copied."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from serve.adapters.store import ADAPTERS, DATABASE, WAIT
from serve.errors import BusyError, SvfitError
from serve.files import sync_folder
from serve.manifest import Manifest


def fits(old: Manifest, new: Manifest) -> bool:
    """Whether adapters added to `old` answer alike in `new`: one basis, the same directions in the graph and heads."""
    if old.swap is None or new.swap is None or old.basis_id != new.basis_id:
        return False
    return old.swap.layers == new.swap.layers and old.swap.heads == new.swap.heads


def later(state: Path) -> int:
    """How many versions came later to a state folder. Raises SvfitError."""
    if not (state / DATABASE).exists():
        return 0
    with _told(state), contextlib.closing(_connect(state / DATABASE)) as database:
        found = database.execute("SELECT count(*) FROM versions WHERE origin IS NULL").fetchone()
        return int(found[0])


def link_contents(old: Path, new: Path) -> None:
    """Bring the files of every adapter of a state folder to another, those that aren't there yet. Raises SvfitError.

    A folder there has both files or isn't there under its name.
    """
    if not (old / ADAPTERS).is_dir():
        return
    with _told(old):
        (new / ADAPTERS).mkdir(parents=True, exist_ok=True)
        for content in sorted((old / ADAPTERS).iterdir()):
            place = new / ADAPTERS / content.name
            if content.name.startswith(".") or place.exists():
                continue
            fresh = new / ADAPTERS / f".new-{secrets.token_hex(8)}"
            try:
                fresh.mkdir()
                for file in content.iterdir():
                    _link(file, fresh / file.name)
            except FileNotFoundError:  # it was removed meanwhile
                shutil.rmtree(fresh, ignore_errors=True)
                continue
            sync_folder(fresh)
            fresh.rename(place)
        for folder in (new / ADAPTERS, new, new.parent):
            sync_folder(folder)


def carry(old: Path, new: Path) -> int:
    """Bring all of a state folder to another, as it is at one moment, on the disk when it returns.

    Writes of other processes wait meanwhile. Gives the number of versions that came along. Raises SvfitError,
    BusyError where another process doesn't come to an end with a write.
    """
    source, target = old / DATABASE, new / DATABASE
    if not source.exists():
        return 0
    with _told(old), contextlib.closing(_connect(source)) as holding:
        holding.execute("BEGIN IMMEDIATE")
        link_contents(old, new)
        new.mkdir(parents=True, exist_ok=True)
        fresh = new / f".{DATABASE}.{secrets.token_hex(8)}"
        with contextlib.closing(_connect(source)) as reading:
            reading.execute("VACUUM INTO ?", (str(fresh),))
        with fresh.open("rb+") as handle:
            os.fsync(handle.fileno())
        fresh.replace(target)
        for folder in (new, new.parent):
            sync_folder(folder)
        holding.execute("ROLLBACK")
    return later(new)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except FileNotFoundError:
        raise
    except OSError:  # a disk without hard links
        shutil.copyfile(source, target)
        with target.open("rb+") as handle:
            os.fsync(handle.fileno())


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=WAIT, isolation_level=None)


@contextlib.contextmanager
def _told(state: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise BusyError(f"{state}: another process has kept it for {WAIT:.0f} s", retry_after=5) from error
        raise SvfitError(f"{state}: its adapters can't be carried along ({error})") from error
    except (sqlite3.Error, OSError) as error:
        raise SvfitError(f"{state}: its adapters can't be carried along ({error})") from error
