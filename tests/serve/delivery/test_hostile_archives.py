"""Archives that mean harm are refused in one line, and leave nothing behind."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from forged import forged, parts_of, zipped
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_bundle import make_bundle

from serve.bundle import MAX_FILES, MAX_MANIFEST_BYTES, MAX_SIGNATURE_BYTES
from serve.delivery import archive, keys, signature
from serve.delivery.archive import pack, unpack
from serve.delivery.keys import PublicKey
from serve.errors import InputError, SvfitError

Parts = dict[str, bytes]
X = {"bytes": 1, "sha256": "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"}  # of b"x"


@pytest.fixture
def parts(bundle_path: Path) -> Parts:
    return parts_of(bundle_path)


def refused(tmp_path: Path, data: bytes, match: str, **options: Any) -> None:
    """Unpacking fails so, in one line, and no file is anywhere but the archive itself."""
    room = tmp_path / "room"
    room.mkdir(parents=True)
    (room / "x.zip").write_bytes(data)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SvfitError, match=match) as caught:
        unpack(room / "x.zip", room / "there", **options)
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


NAMES = [
    "../outside",
    "adapters/../../outside",
    "/etc/outside",
    "//host/share",
    "C:/outside",
    "C:outside",
    "..\\outside",
    "adapters\\outside",
    "./model.onnx.data",
    "adapters//x",
    "adapters/",
    "",
    "a\0b",
    "a\nb",
    "..",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_leads_out_is_refused_even_where_the_manifest_lists_it(
    tmp_path: Path, parts: Parts, name: str
) -> None:
    parts["manifest.json"] = forged(parts["manifest.json"], files={name: X})
    refused(tmp_path, zipped([*parts.items(), (name, b"x")]), "not a path inside a bundle")


@pytest.mark.parametrize("name", [*NAMES, "zzz", "MODEL.onnx", "manifest.json", "signature.json"])
def test_a_file_that_the_manifest_does_not_list_is_refused(tmp_path: Path, parts: Parts, name: str) -> None:
    refused(tmp_path, zipped([*parts.items(), (name, b"x")]), "which its manifest.json doesn't list")


@pytest.mark.parametrize("name", ["manifest.json", "signature.json"])
def test_svfits_own_files_are_never_listed(tmp_path: Path, parts: Parts, name: str) -> None:
    parts["manifest.json"] = forged(parts["manifest.json"], files={name: X})
    refused(tmp_path, zipped(list(parts.items())), "not a path inside a bundle")


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("Model.onnx",), "one name on some systems"),
        (("adapters/DEFAULT/adapter.json",), "one name on some systems"),
        (("é", "e\u0301"), "one name on some systems"),
        (("straße", "STRASSE"), "one name on some systems"),
        (("Manifest.json",), "one name on some systems"),
        (("SIGNATURE.JSON",), "one name on some systems"),
        (("model.onnx/x",), "inside 'model.onnx', which is a file"),
        (("manifest.json/x",), "inside 'manifest.json', which is a file"),
        (("signature.json/x",), "inside 'signature.json', which is a file"),
    ],
)
def test_names_that_are_one_on_some_systems_are_refused(
    tmp_path: Path, parts: Parts, names: tuple[str, ...], told: str
) -> None:
    parts["manifest.json"] = forged(parts["manifest.json"], files=dict.fromkeys(names, X))
    refused(tmp_path, zipped([*parts.items(), *((name, b"x") for name in names)]), told)


def test_more_files_than_a_bundle_may_have_are_refused_before_any_is_written(tmp_path: Path, parts: Parts) -> None:
    files = {f"f{number}": X for number in range(MAX_FILES)}
    parts["manifest.json"] = forged(parts["manifest.json"], files=files)
    refused(tmp_path, zipped(list(parts.items())), f"lists {MAX_FILES + 6} files, over the {MAX_FILES}")


def test_a_bundle_with_such_names_is_not_packed_either(bundle_path: Path, tmp_path: Path) -> None:
    (bundle_path / "Model.onnx").write_bytes(b"x")
    data = forged((bundle_path / "manifest.json").read_bytes(), files={"Model.onnx": X})
    (bundle_path / "manifest.json").write_bytes(data)
    with pytest.raises(InputError, match="one name on some systems"):
        pack(bundle_path, tmp_path / "x.zip")


@pytest.mark.parametrize("order", ["twice", "swapped"])
def test_a_file_that_comes_twice_or_out_of_order_is_refused(tmp_path: Path, parts: Parts, order: str) -> None:
    listed = list(parts.items())
    listed = [*listed, listed[-1]] if order == "twice" else [*listed[:-2], listed[-1], listed[-2]]
    refused(tmp_path, zipped(listed), "comes twice or out of order")


def test_the_manifest_comes_first(tmp_path: Path, parts: Parts) -> None:
    refused(tmp_path, zipped(list(parts.items())[1:]), "doesn't begin with manifest.json")


def test_a_second_signature_is_refused(tmp_path: Path, parts: Parts, signed_path: Path) -> None:
    signed = list(parts_of(signed_path).items())
    refused(tmp_path, zipped([*signed[:2], signed[1], *signed[2:]]), "doesn't list")


@pytest.mark.parametrize("name", ["manifest.json", "signature.json"])
def test_a_small_file_that_says_it_is_huge_is_refused_unread(tmp_path: Path, parts: Parts, name: str) -> None:
    limit = MAX_MANIFEST_BYTES if name == "manifest.json" else MAX_SIGNATURE_BYTES
    huge = {"manifest.json": parts["manifest.json"], name: b" " * (limit + 1)}
    refused(tmp_path, zipped(list(huge.items())), f"{name} has {limit + 1} bytes, over the {limit}")


def test_a_declared_size_beyond_the_limit_is_refused(tmp_path: Path, parts: Parts) -> None:
    for size in (2**40, 2**63, 10**30):
        files = {"model.onnx": {"bytes": size, "sha256": "0" * 64}}
        data = zipped([("manifest.json", forged(parts["manifest.json"], files=files)), ("model.onnx", b"x")])
        refused(tmp_path / str(size), data, "over the 17179869184 that it may have")


def test_a_declared_size_beyond_the_disk_is_refused(
    tmp_path: Path, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 100}))
    refused(tmp_path, zipped(list(parts.items())), "less is free on the disk")


def test_a_bomb_is_held_to_the_size_that_the_manifest_says(tmp_path: Path, parts: Parts) -> None:
    parts["model.onnx"] = bytes(20 * 2**20)
    refused(tmp_path, zipped(list(parts.items())), r"model\.onnx has 20971520 bytes, its manifest\.json says")


def test_other_bytes_of_the_same_size_are_refused(tmp_path: Path, parts: Parts) -> None:
    parts["model.onnx"] = bytes(len(parts["model.onnx"]))
    refused(tmp_path, zipped(list(parts.items())), r"model\.onnx was changed \(its sha256 differs")


def test_a_missing_file_is_refused(tmp_path: Path, parts: Parts) -> None:
    del parts["tokenizer.json"]
    refused(tmp_path, zipped(list(parts.items())), r"leaves out tokenizer\.json")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"novelty": 1}, "unknown key"),
        ({"format_version": 3}, "newer than this svfit reads"),
        ({"labels": ["a"]}, "1 labels for an output 3 wide"),
        ({"output": {"name": "logits", "shape": ["batch", -1]}}, "shape"),
        ({"files": {"x": {"bytes": -1, "sha256": "0" * 64}}}, "must be at least 0"),
        ({"files": {"x": {"bytes": 1.5, "sha256": "0" * 64}}}, "must be a whole number"),
        ({"files": {"x": {**X, "mode": "0777"}}}, "unknown key"),
        ({"files": {"x" * 300: X}}, "leaves out"),
        ({"files": {"state/x": X}}, "leaves out"),
    ],
)
def test_a_manifest_that_is_wrong_is_refused(tmp_path: Path, parts: Parts, change: dict[str, Any], told: str) -> None:
    parts["manifest.json"] = forged(parts["manifest.json"], **change)
    refused(tmp_path, zipped(list(parts.items())), told)


def test_a_name_that_no_disk_takes_is_told_in_one_line(tmp_path: Path, parts: Parts) -> None:
    parts["manifest.json"] = forged(parts["manifest.json"], files={"z" * 300: X})
    refused(tmp_path, zipped([*parts.items(), ("z" * 300, b"x")]), "can't be unpacked to .*name too long")


def test_a_list_of_files_that_lacks_a_graph_is_refused(tmp_path: Path, parts: Parts) -> None:
    value = json.loads(parts["manifest.json"])
    del value["files"]["tokenizer.json"], parts["tokenizer.json"]
    parts["manifest.json"] = forged(json.dumps(value).encode())
    refused(tmp_path, zipped(list(parts.items())), r"tokenizer\.json is missing from the files")


def altered(value: dict[str, Any], **change: Any) -> bytes:
    return (json.dumps({**value, **change}, indent=2, sort_keys=True) + "\n").encode()


SIGNATURES: list[tuple[Callable[[dict[str, Any]], bytes], str]] = [
    (lambda value: altered(value, novelty=1), "novelty: unknown key"),
    (lambda value: altered(value, format="other"), "must be one of svfit-signature"),
    (lambda value: altered(value, format_version=2), "signature format 2, this svfit reads 1"),
    (lambda value: altered(value, algorithm="none"), "must be one of ed25519"),
    (lambda value: altered(value, key="../../x"), "16 lower-case hex digits"),
    (lambda value: altered(value, signature=""), "must not be empty"),
    (lambda value: altered(value, signature="AAAA"), "must be the base64 of 64 bytes"),
    (lambda value: altered(value, signature="é"), "must be the base64 of 64 bytes"),
    (lambda value: altered(value, signature=[1]), "must be a string"),
    (lambda value: altered(value, signature=value["signature"][:-3] + "B=="), "as svfit writes|must be the base64"),
    (lambda value: altered(value) + b"\n", "bytes are not as svfit writes them"),
    (lambda _: b"[]", "must be an object"),
    (lambda _: b"[" * 4000, "not valid JSON"),
    (lambda _: b'{"format": NaN}', "NaN is no JSON"),
    (lambda _: b"", "not valid JSON"),
]


@pytest.mark.parametrize(("change", "told"), SIGNATURES)
def test_a_signature_of_the_wrong_form_is_refused_even_where_nobody_asks(
    tmp_path: Path, signed_path: Path, change: Callable[[dict[str, Any]], bytes], told: str
) -> None:
    parts = parts_of(signed_path)
    parts["signature.json"] = change(json.loads(parts["signature.json"]))
    refused(tmp_path, zipped(list(parts.items())), told)


def test_what_is_not_signed_by_a_trusted_key_is_refused_before_its_files_are_read(
    tmp_path: Path, signed_path: Path, key_folder: Path, site_key: PublicKey
) -> None:
    other = keys.read_public(key_folder / "other.pub")
    parts = parts_of(signed_path)
    heads = [("manifest.json", parts["manifest.json"]), ("signature.json", parts["signature.json"])]
    refused(tmp_path / "a", zipped(heads), f"key {site_key.id}, which isn't trusted", trusted=[other])
    refused(tmp_path / "b", zipped(heads[:1]), "isn't signed", trusted=[other])
    forged_manifest = ("manifest.json", forged(parts["manifest.json"], name="other"))
    refused(tmp_path / "c", zipped([forged_manifest, heads[1]]), "signature is wrong", trusted=[site_key])


def test_a_key_that_only_has_the_trusted_ones_id_is_refused(
    tmp_path: Path, signed_path: Path, key_folder: Path, site_key: PublicKey
) -> None:
    private = keys.read_private(key_folder / "other.pem")
    parts = parts_of(signed_path)
    sha256 = json.loads(parts["manifest.json"])["manifest_sha256"]
    raw = private.sign(signature.SIGNED + sha256.encode())
    parts["signature.json"] = altered(json.loads(parts["signature.json"]), signature=base64.b64encode(raw).decode())
    refused(tmp_path, zipped(list(parts.items())), "signature is wrong", trusted=[site_key])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, key_folder: Path) -> tuple[Path, bytes, Parts]:
    """A folder to work in, a signed archive's bytes, and what it holds."""
    folder = tmp_path_factory.mktemp("whole")
    bundle = make_bundle(folder / "bundle")
    signature.sign(bundle, keys.read_private(key_folder / "site.pem"))
    return folder, pack(bundle, folder / "x.zip").path.read_bytes(), parts_of(bundle)


def unpacked(folder: Path, data: bytes) -> Parts | None:
    """The files of the bundle that comes out; None where it is refused."""
    (folder / "changed.zip").write_bytes(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(archive.os, "fsync", lambda _: None)  # hundreds of times a test, it is what takes the time
        try:
            found = parts_of(unpack(folder / "changed.zip", folder / "out").path)
        except SvfitError:
            assert not (folder / "out").exists()
            return None
    shutil.rmtree(folder / "out")
    return found


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_any_flipped_byte_is_refused_or_gives_the_same_bundle(
    whole: tuple[Path, bytes, Parts], data: st.DataObject
) -> None:
    folder, good, parts = whole
    changed = bytearray(good)
    changed[data.draw(st.integers(0, len(good) - 1))] ^= data.draw(st.integers(1, 255))
    assert unpacked(folder, bytes(changed)) in (None, parts)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_cut_or_spliced_archive_is_refused(whole: tuple[Path, bytes, Parts], data: st.DataObject) -> None:
    folder, good, _ = whole
    start = data.draw(st.integers(0, len(good) - 1))
    end = data.draw(st.integers(start + 1, len(good)))
    inserted = data.draw(st.binary(max_size=20).filter(lambda some: some != good[start:end]))
    assert unpacked(folder, good[:start] + inserted + good[end:]) is None


def test_the_archive_of_these_tests_is_a_good_one(whole: tuple[Path, bytes, Parts]) -> None:
    folder, good, parts = whole
    assert unpacked(folder, good) == parts
