"""The zip that an archive is, to the byte: one way to write a list of files, and a reader that takes no other.

Any program opens it as a zip. Read here, nothing is left to interpretation: the headers must be those that this module
writes for the names, sizes and checksums they hold, without gap, overlap, prefix or trailing bytes. What a header says
is believed only as a limit.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from serve.errors import InputError

STORED, DEFLATED = 0, 8
BLOCK = 2**20
LEVEL = 6
WORTH = 0.15
MAX_NAME_BYTES = 1024
_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_END64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR = struct.Struct("<4sIQI")
_UTF8, _EPOCH = 0x800, 0x21  # flag: names are UTF-8; date: the first that a zip can hold
_VERSION, _VERSION64, _UNIX = 20, 45, 3
_PLAIN_FILE = 0o100644 << 16
_WIDE = 2**31  # sizes and places from here on are written in 64 bits
_MARK = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Entry:
    """One file: its size as it is (`size`) and in the zip (`packed`), CRC-32, and where its header begins."""

    name: str
    method: int
    crc: int
    packed: int
    size: int
    offset: int

    @property
    def wide(self) -> bool:
        return self.size >= _WIDE

    def header(self) -> bytes:
        """The local header's bytes."""
        name = self.name.encode()
        extra = struct.pack("<2H2Q", 1, 16, self.size, self.packed) if self.wide else b""
        packed, size = (_MARK, _MARK) if self.wide else (self.packed, self.size)
        version = _VERSION64 if self.wide else _VERSION
        fixed = (version, _UTF8, self.method, 0, _EPOCH, self.crc, packed, size, len(name), len(extra))
        return _LOCAL.pack(b"PK\3\4", *fixed) + name + extra

    def central(self) -> bytes:
        """The entry's bytes in the table at the end."""
        name, far = self.name.encode(), self.offset >= _WIDE
        large = [self.size, self.packed] if self.wide else []
        large += [self.offset] if far else []
        extra = struct.pack(f"<2H{len(large)}Q", 1, 8 * len(large), *large) if large else b""
        packed, size = (_MARK, _MARK) if self.wide else (self.packed, self.size)
        version = _VERSION64 if large else _VERSION
        made = (_UNIX << 8 | version, version, _UTF8, self.method, 0, _EPOCH, self.crc, packed, size)
        rest = (len(name), len(extra), 0, 0, 0, _PLAIN_FILE, _MARK if far else self.offset)
        return _CENTRAL.pack(b"PK\1\2", *made, *rest) + name + extra


def table(entries: Sequence[Entry], start: int) -> bytes:
    """Everything after the last file, which ended at `start`: the table of entries and the zip's end."""
    central = b"".join(entry.central() for entry in entries)
    count, size = len(entries), len(central)
    if start < _WIDE:
        return central + _END.pack(b"PK\5\6", 0, 0, count, count, size, start, 0)
    end64 = _END64.pack(b"PK\6\6", 44, _UNIX << 8 | _VERSION64, _VERSION64, 0, 0, count, count, size, start)
    locator = _LOCATOR.pack(b"PK\6\7", 0, start + size, 1)
    return central + end64 + locator + _END.pack(b"PK\5\6", 0, 0, count, count, size, _MARK, 0)


def write_entry(out: BinaryIO, name: str, source: BinaryIO, size: int) -> tuple[Entry, str]:
    """Write one file of `size` bytes at a seekable stream's place; returns its entry and its sha256.

    It is deflated where a block from its middle shrinks by `WORTH`: text, graphs and int8 weights do, float32 ones
    don't. Raises InputError where the source has another size.
    """
    offset = out.tell()
    source.seek(max(0, size - BLOCK) // 2)
    sample = source.read(BLOCK)
    source.seek(0)
    method = DEFLATED if len(zlib.compress(sample, LEVEL)) < (1 - WORTH) * len(sample) else STORED
    digest = hashlib.sha256()
    out.write(Entry(name, method, 0, 0, size, offset).header())
    start, crc, seen = out.tell(), 0, 0
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    while block := source.read(BLOCK):
        digest.update(block)
        crc, seen = zlib.crc32(block, crc), seen + len(block)
        out.write(packer.compress(block) if method == DEFLATED else block)
    if method == DEFLATED:
        out.write(packer.flush())
    if seen != size:
        raise InputError(f"{name} was changed while it was packed ({seen} bytes, not {size})")
    after = out.tell()
    entry = Entry(name, method, crc, after - start, size, offset)
    out.seek(offset)
    out.write(entry.header())
    out.seek(after)
    return entry, digest.hexdigest()


class ZipReader:
    """Reads the entries of a stream one after the other: `head`, then `blocks`, and in the end `finish`."""

    def __init__(self, stream: BinaryIO, named: str) -> None:
        self._stream, self._named = stream, named
        self._entries: list[Entry] = []
        self._place = 0
        self._ahead = b""

    def head(self) -> Entry | None:
        """The next entry's header, or None after the last. Raises InputError: no zip, encrypted, not our form."""
        fixed = self._take(_LOCAL.size, short=True)
        if self._entries and fixed[:4] in (b"PK\1\2", b"PK\5\6"):
            self._ahead = fixed
            self._place -= len(fixed)
            return None
        if len(fixed) < _LOCAL.size or fixed[:4] != b"PK\3\4":
            what = "is cut short or damaged" if self._entries else "is no archive of svfit, or cut short"
            raise InputError(f"{self._named}: {what} (no file's header at byte {self._place - len(fixed)})")
        _, _, flags, method, _, _, crc, packed, size, name_bytes, extra_bytes = _LOCAL.unpack(fixed)
        if flags & 1:
            raise InputError(f"{self._named}: is encrypted; svfit's archives are not")
        if name_bytes > MAX_NAME_BYTES or extra_bytes > MAX_NAME_BYTES:
            raise InputError(f"{self._named}: a name of {name_bytes} bytes, over the {MAX_NAME_BYTES} that it may have")
        raw, extra = self._take(name_bytes), self._take(extra_bytes)
        try:
            name = raw.decode()
        except UnicodeDecodeError as error:
            raise InputError(f"{self._named}: a name that is not UTF-8 ({raw[:40]!r})") from error
        if len(extra) == 20:
            size, packed = struct.unpack("<2Q", extra[4:])
        offset = self._place - len(fixed) - len(raw) - len(extra)
        entry = Entry(name, method, crc, packed, size, offset)
        if entry.header() != fixed + raw + extra or method not in (STORED, DEFLATED):
            raise InputError(
                f"{self._named}: {name[:80]!r} has a header that svfit doesn't write (flags {flags:#x}, method"
                f" {method}); archives are made by `svfit pack`"
            )
        self._entries.append(entry)
        return entry

    def blocks(self, entry: Entry) -> Iterator[bytes]:
        """The bytes of the entry whose head was just read, never more than its `size`, in blocks of at most 1 MiB.

        Raises InputError where it is cut short, holds more or less than `size`, or its checksum differs.
        """
        where = f"{self._named}: {entry.name}"
        unpacker, crc, seen = zlib.decompressobj(-zlib.MAX_WBITS), 0, 0
        for data in self._stored(entry) if entry.method == STORED else self._inflated(entry, unpacker, where):
            crc, seen = zlib.crc32(data, crc), seen + len(data)
            if seen > entry.size:
                raise InputError(f"{where}: holds more than the {entry.size} bytes that its header says")
            yield data
        if seen != entry.size:
            raise InputError(f"{where}: holds {seen} bytes, not the {entry.size} that its header says")
        if entry.method == DEFLATED and (not unpacker.eof or unpacker.unused_data):
            raise InputError(f"{where}: its compressed data doesn't end where its header says")
        if crc != entry.crc:
            raise InputError(f"{where}: was changed (its checksum differs)")

    def finish(self) -> None:
        """Read what follows the last entry. Raises InputError unless it is the table of these entries, and the end."""
        wanted = table(self._entries, self._place)
        if self._take(len(wanted) + 1, short=True) != wanted:
            raise InputError(
                f"{self._named}: what follows its files isn't the table that svfit writes for them (cut short, bytes"
                " after the end, a link or special file, or another program's); archives are made by `svfit pack`"
            )

    def _stored(self, entry: Entry) -> Iterator[bytes]:
        if entry.packed != entry.size:
            raise InputError(f"{self._named}: {entry.name}: is stored, but its header has two sizes")
        left = entry.packed
        while left:
            data = self._take(min(BLOCK, left))
            left -= len(data)
            yield data

    def _inflated(self, entry: Entry, unpacker: zlib._Decompress, where: str) -> Iterator[bytes]:
        left, data, block = entry.packed, b"", b""
        try:
            while not unpacker.eof and (left or data or block):  # all may be taken and some of it not given yet
                if not data and left:
                    data = self._take(min(BLOCK, left))
                    left -= len(data)
                block = unpacker.decompress(data, BLOCK)
                data = unpacker.unconsumed_tail
                if block:
                    yield block
        except zlib.error as error:
            raise InputError(f"{where}: its compressed data is damaged ({error})") from error
        if left:
            raise InputError(f"{where}: its compressed data doesn't end where its header says")

    def _take(self, count: int, short: bool = False) -> bytes:
        """The next `count` bytes; fewer only where `short`."""
        data, self._ahead = self._ahead[:count], self._ahead[count:]
        data += self._stream.read(count - len(data))
        self._place += len(data)
        if len(data) < count and not short:
            raise InputError(f"{self._named}: is cut short (at byte {self._place})")
        return data
