"""Numbered lines of a UTF-8 text file, gzip or not, streamed; every complaint names file, line and byte."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from serve.errors import InputError

MAX_LINE = 64 << 20  # bytes; a longer line is no labelled row, and a gzip bomb could hold one
_AFTER_LONE_CR = re.compile(r"(?<=\r)(?!\n)")


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield `(number, line)`, numbers from 1, line ends kept, a byte order mark removed.

    Lines end at LF, CRLF or a lone CR and nowhere else. Raises InputError for broken UTF-8, for broken
    gzip, for a line of more than `MAX_LINE` bytes and when the file can't be read.
    """
    number = 1
    try:
        with _open(path) as handle:
            while raw := handle.readline(MAX_LINE + 1):
                if len(raw) > MAX_LINE:
                    raise InputError(f"{path}:{number}: a line of more than {MAX_LINE >> 20} MiB")
                for line in _AFTER_LONE_CR.split(_decode(path, number, raw)):
                    if line:
                        yield number, line
                        number += 1
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path}: broken gzip at or after line {number}: {error}") from error
    except OSError as error:
        raise InputError(f"{path}: can't be read: {error.strerror or error}") from error


def _open(path: Path) -> BinaryIO:
    if path.suffix.lower() == ".gz":
        return cast(BinaryIO, gzip.open(path, "rb"))
    return path.open("rb")


def _decode(path: Path, number: int, raw: bytes) -> str:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        before = raw[: error.start].replace(b"\r\n", b"\n")
        line = number + before.count(b"\r")
        column = error.start - raw.rfind(b"\r", 0, error.start)
        hint = (
            "it looks like UTF-16."
            if number == 1 and raw[:2] in (b"\xff\xfe", b"\xfe\xff")
            else "is it in another encoding?"
        )
        raise InputError(
            f"{path}:{line}: broken UTF-8 at byte {column} of the line (0x{raw[error.start]:02x}); {hint} "
            "Save the file as UTF-8."
        ) from error
    return text.removeprefix("\ufeff") if number == 1 else text
