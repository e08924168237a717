"""A bundle in one file: the same bytes each time, whole or as a delta, and the same bundle where it arrives."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from forged import parts_of
from tiny_swap import make_adapter, make_swap_bundle

from serve.adapters.registry import Registry
from serve.bundle import Bundle
from serve.delivery import archive
from serve.delivery.archive import pack, read_manifest, unpack
from serve.delivery.keys import PublicKey
from serve.errors import Conflict, InputError, SvfitError, TooLarge, UsageError
from serve.predictor import Predictor


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def test_a_bundle_arrives_as_it_left_and_answers(bundle_path: Path, tmp_path: Path) -> None:
    packed = pack(bundle_path, tmp_path / "x.svfit.zip")
    manifest = Bundle.open(bundle_path).manifest
    assert packed.bytes == packed.path.stat().st_size
    assert (packed.files, packed.manifest_sha256, packed.signed_by) == (6, manifest.manifest_sha256, None)
    bundle = unpack(packed.path, tmp_path / "there")
    assert bundle.path == tmp_path / "there"
    assert bundle.manifest == manifest == Bundle.open(bundle.path).manifest == read_manifest(packed.path)
    assert parts_of(bundle.path) == parts_of(bundle_path)
    assert Predictor(bundle).predict(["the pump"]) == Predictor(bundle_path).predict(["the pump"])
    assert leftovers(tmp_path) == []


def test_a_signed_bundle_arrives_signed(signed_path: Path, tmp_path: Path, site_key: PublicKey) -> None:
    packed = pack(signed_path, tmp_path / "x.zip")
    assert packed.signed_by == site_key.id
    bundle = unpack(packed.path, tmp_path / "there", trusted=[site_key])
    assert parts_of(bundle.path) == parts_of(signed_path)


def test_the_same_bundle_gives_the_same_bytes_wherever_it_lies(signed_path: Path, tmp_path: Path) -> None:
    first = pack(signed_path, tmp_path / "1.zip")
    moved = unpack(first.path, tmp_path / "moved").path
    for path in moved.rglob("*"):
        os.utime(path, (1, 1))
    (moved / "model.onnx").chmod(0o600)
    assert pack(moved, tmp_path / "2.zip").path.read_bytes() == first.path.read_bytes()


def test_adapters_that_came_later_do_not_travel(tmp_path: Path) -> None:
    source = make_swap_bundle(tmp_path / "swap")
    before = pack(source, tmp_path / "1.zip")
    registry = Registry(Bundle.open(source), None)
    registry.add("late", make_adapter(tmp_path / "late", 3))
    registry.close()
    assert (source / "state").is_dir()
    assert pack(source, tmp_path / "2.zip").path.read_bytes() == before.path.read_bytes()
    assert not (unpack(before.path, tmp_path / "there").path / "state").exists()


def test_a_delta_leaves_out_what_the_receiver_has(bundle_path: Path, tmp_path: Path) -> None:
    files = Bundle.open(bundle_path).manifest.files
    graph = files["model.onnx"].sha256
    whole = pack(bundle_path, tmp_path / "whole.zip")
    delta = pack(bundle_path, tmp_path / "delta.zip", without={graph, "0" * 64})
    assert (delta.files, delta.manifest_sha256) == (5, whole.manifest_sha256)
    assert delta.bytes < whole.bytes
    asked: list[str] = []

    def have(sha256: str) -> Path:
        asked.append(sha256)
        return bundle_path / "model.onnx"

    bundle = unpack(delta.path, tmp_path / "there", have=have)
    assert asked == [graph]
    assert parts_of(bundle.path) == parts_of(bundle_path)
    assert (bundle.path / "model.onnx").samefile(bundle_path / "model.onnx")


def test_an_adapters_update_of_a_swappable_bundle_is_small(tmp_path: Path) -> None:
    old = make_swap_bundle(tmp_path / "old")
    new = make_swap_bundle(tmp_path / "new", (("alpha", 1), ("beta", 5)))
    had = {entry.sha256 for entry in Bundle.open(old).manifest.files.values()}
    delta = pack(new, tmp_path / "delta.zip", without=had)
    assert delta.files == 1  # beta's values; its card is the same

    def have(sha256: str) -> Path | None:
        files = Bundle.open(old, check=False).manifest.files.items()
        return next((old / name for name, entry in files if entry.sha256 == sha256), None)

    assert parts_of(unpack(delta.path, tmp_path / "there", have=have).path) == parts_of(new)


def test_files_are_copied_where_they_cannot_be_linked(
    bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = Bundle.open(bundle_path).manifest.files["model.onnx"].sha256
    delta = pack(bundle_path, tmp_path / "delta.zip", without={graph})

    def no_links(*_: object, **__: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", no_links)
    bundle = unpack(delta.path, tmp_path / "there", have=lambda _: bundle_path / "model.onnx")
    assert parts_of(bundle.path) == parts_of(bundle_path)


@pytest.mark.parametrize("kind", ["nobody", "absent", "changed", "shorter", "link"])
def test_a_delta_without_its_other_half_is_refused(bundle_path: Path, tmp_path: Path, kind: str) -> None:
    graph = Bundle.open(bundle_path).manifest.files["model.onnx"].sha256
    delta = pack(bundle_path, tmp_path / "delta.zip", without={graph})
    other = tmp_path / "other"
    data = (bundle_path / "model.onnx").read_bytes()
    other.write_bytes(data if kind == "link" else data[:-1] + (b"" if kind == "shorter" else b"\xff"))
    if kind == "link":
        (tmp_path / "link").symlink_to(other)
        other = tmp_path / "link"
    have = None if kind == "nobody" else lambda _: None if kind == "absent" else other
    with pytest.raises(InputError, match=r"leaves out model\.onnx"):
        unpack(delta.path, tmp_path / "there", have=have)
    assert not (tmp_path / "there").exists()
    assert leftovers(tmp_path) == []


def test_a_changed_file_is_not_packed(bundle_path: Path, tmp_path: Path) -> None:
    data = (bundle_path / "model.onnx").read_bytes()
    (bundle_path / "model.onnx").write_bytes(data[:-1] + b"\xff")
    (tmp_path / "x.zip").write_bytes(b"before")
    with pytest.raises(InputError, match=r"model\.onnx was changed"):
        pack(bundle_path, tmp_path / "x.zip")
    assert (tmp_path / "x.zip").read_bytes() == b"before"
    assert leftovers(tmp_path) == []


def test_an_archive_is_not_put_into_its_own_bundle(bundle_path: Path) -> None:
    with pytest.raises(UsageError, match="inside the bundle"):
        pack(bundle_path, bundle_path / "adapters" / "x.zip")
    Bundle.open(bundle_path)


@pytest.mark.parametrize("kind", ["folder", "file", "dangling"])
def test_nothing_is_unpacked_over_what_is_there(bundle_path: Path, tmp_path: Path, kind: str) -> None:
    packed = pack(bundle_path, tmp_path / "x.zip")
    out = tmp_path / "there"
    if kind == "folder":
        out.mkdir()
    elif kind == "file":
        out.write_text("mine")
    else:
        out.symlink_to(tmp_path / "nowhere")
    with pytest.raises(Conflict, match="is there already"):
        unpack(packed.path, out)


def test_a_bundle_over_the_limit_is_refused_before_anything_is_written(bundle_path: Path, tmp_path: Path) -> None:
    packed = pack(bundle_path, tmp_path / "x.zip")
    total = sum(entry.bytes for entry in Bundle.open(bundle_path).manifest.files.values())
    with pytest.raises(TooLarge, match=f"unpacks to {total} bytes, over the {total - 1}"):
        unpack(packed.path, tmp_path / "new" / "there", max_bytes=total - 1)
    assert not (tmp_path / "new").exists()
    unpack(packed.path, tmp_path / "new" / "there", max_bytes=total)


def test_a_full_disk_is_told_and_leaves_nothing(
    bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = pack(bundle_path, tmp_path / "x.zip")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(archive.os, "fsync", full)
        with pytest.raises(SvfitError, match=r"x\.zip: can't be unpacked to .*No space left"):
            unpack(packed.path, tmp_path / "there")
    assert not (tmp_path / "there").exists()
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("kind", ["absent", "folder", "device", "empty", "text"])
def test_what_is_no_archive_is_named(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "thing"
    if kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind != "absent":
        path.write_text("" if kind == "empty" else "hello " * 20)
    for act in (lambda: unpack(path, tmp_path / "there"), lambda: read_manifest(path)):
        with pytest.raises(InputError, match=r"archive .*thing"):
            act()
