"""The zip has one form: other programs read it, and this reader takes no other."""

from __future__ import annotations

import io
import random
import zipfile
import zlib

import pytest
from forged import zipped
from hypothesis import given, settings
from hypothesis import strategies as st

from serve.delivery import zipform
from serve.delivery.zipform import Entry, ZipReader
from serve.errors import InputError

NOISE = random.Random(0).randbytes(3000)  # noqa: S311
PARTS = [("a/text.json", b"the same words again and again " * 40), ("b-é.bin", NOISE), ("c", b"")]


def read(data: bytes) -> list[tuple[str, bytes]]:
    reader = ZipReader(io.BytesIO(data), "x.zip")
    found = []
    while (entry := reader.head()) is not None:
        found.append((entry.name, b"".join(reader.blocks(entry))))
    reader.finish()
    return found


def test_what_was_written_is_read_and_python_agrees() -> None:
    data = zipped(PARTS)
    assert read(data) == PARTS
    with zipfile.ZipFile(io.BytesIO(data)) as other:
        assert other.testzip() is None
        assert [(info.filename, other.read(info)) for info in other.infolist()] == PARTS
        assert [info.compress_type for info in other.infolist()] == [8, 0, 0]
        assert {info.date_time for info in other.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_sizes_of_64_bits_are_written_as_other_programs_read_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipform, "_WIDE", 1000)
    data = zipped(PARTS)
    assert read(data) == PARTS
    with zipfile.ZipFile(io.BytesIO(data)) as other:
        assert other.testzip() is None
        assert [(info.filename, other.read(info)) for info in other.infolist()] == PARTS


@given(st.lists(st.binary(max_size=400), min_size=1, max_size=3), st.integers(1, 60), st.integers(1, 30))
@settings(max_examples=100, deadline=None)
def test_any_content_in_blocks_of_any_size_comes_back(contents: list[bytes], block: int, times: int) -> None:
    parts = [(f"{place:02}", data * times) for place, data in enumerate(contents)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zipform, "BLOCK", block)
        assert read(zipped(parts)) == parts


def test_every_flipped_byte_is_refused_or_changes_nothing() -> None:
    data = zipped([("manifest.json", b"abcabcabcabcabcabcabc" * 2), ("z", NOISE[:40])])
    same = []
    for place in range(len(data)):
        for flip in (0x01, 0x10, 0x80, 0xFF):
            changed = bytearray(data)
            changed[place] ^= flip
            try:
                assert read(bytes(changed)) == read(data)
            except InputError:
                continue
            same.append(place)
    assert len(set(same)) <= 1  # the bits that fill up the last byte of compressed data


@pytest.mark.parametrize("cut", [0, 1, 29, 30, 40, 120, -1, -22, -23, -100])
def test_a_cut_archive_is_refused(cut: int) -> None:
    with pytest.raises(InputError, match=r"cut short|no archive"):
        read(zipped(PARTS)[:cut])


@pytest.mark.parametrize("added", [b"\0", b"PK\5\6" + bytes(18), b"x" * 2**21])
def test_bytes_after_the_end_are_refused(added: bytes) -> None:
    with pytest.raises(InputError, match="bytes after the end"):
        read(zipped(PARTS) + added)


def test_bytes_before_the_beginning_are_refused() -> None:
    with pytest.raises(InputError, match="no archive of svfit"):
        read(b"#!/bin/sh\n" + zipped(PARTS))


def test_an_archive_without_files_is_refused() -> None:
    with pytest.raises(InputError, match="no archive of svfit"):
        read(zipped([]))


def test_an_encrypted_entry_is_named_as_such() -> None:
    data = bytearray(zipped(PARTS))
    data[6] |= 1
    with pytest.raises(InputError, match=r"x\.zip: is encrypted"):
        read(bytes(data))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, 99])
def test_other_compressions_are_refused(method: int) -> None:
    data = zipped(PARTS)
    with pytest.raises(InputError, match=f"method {method}"):
        read(data[:8] + method.to_bytes(2, "little") + data[10:])


def test_another_programs_zip_is_refused_with_what_makes_ours() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as other:
        other.writestr("manifest.json", "{}")
    with pytest.raises(InputError, match="made by `svfit pack`"):
        read(out.getvalue())


@pytest.mark.parametrize("mode", [0o120777, 0o060644, 0o020644, 0o010644, 0o040755, 0o104755])
def test_an_entry_that_says_it_is_a_link_a_device_a_pipe_or_a_folder_is_refused(
    monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(zipform, "_PLAIN_FILE", mode << 16)
        data = zipped(PARTS)
    with zipfile.ZipFile(io.BytesIO(data)) as other:
        assert other.infolist()[0].external_attr >> 16 == mode
    with pytest.raises(InputError, match="link or special file"):
        read(data)


def one(entry: Entry, body: bytes) -> bytes:
    """A zip of one entry whose header says what it likes."""
    head = entry.header() + body
    return head + zipform.table([entry], len(head))


def test_a_bomb_is_stopped_at_the_size_that_its_header_says() -> None:
    whole = bytes(16 * 2**20)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = packer.compress(whole) + packer.flush()
    data = one(Entry("bomb", 8, zlib.crc32(whole), len(body), 1000, 0), body)
    reader = ZipReader(io.BytesIO(data), "x.zip")
    entry = reader.head()
    assert entry is not None
    taken = 0
    with pytest.raises(InputError, match="holds more than the 1000 bytes"):
        for block in reader.blocks(entry):
            taken += len(block)
    assert taken == 0


def test_a_declared_size_that_is_not_there_allocates_nothing() -> None:
    for entry in (Entry("x", 0, 0, 2**60, 2**60, 0), Entry("x", 8, 0, 5, 2**60, 0), Entry("x", 0, 0, 5, 2**40, 0)):
        with pytest.raises(InputError, match=r"cut short|two sizes|holds 0 bytes"):
            read(one(entry, b"\x03\x00abc"))


def test_a_wide_header_for_a_small_file_is_refused() -> None:
    entry = Entry("x", 0, 0, 2**31, 2**31, 0)
    head = bytearray(entry.header())
    head[-16:] = (5).to_bytes(8, "little") * 2
    with pytest.raises(InputError, match="a header that svfit doesn't write"):
        read(bytes(head) + b"abcde")


def test_overlong_names_and_extras_are_refused_unread() -> None:
    data = zipped(PARTS)
    with pytest.raises(InputError, match="name of 65535 bytes"):
        read(data[:26] + b"\xff\xff" + data[28:])


def test_a_name_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(InputError, match="not UTF-8"):
        read(zipped([("ab", b"x")]).replace(b"ab", b"\xff\xfe"))


def test_a_source_that_grew_while_it_was_packed_is_refused() -> None:
    with pytest.raises(InputError, match="changed while it was packed"):
        zipform.write_entry(io.BytesIO(), "x", io.BytesIO(b"abcd"), 3)
