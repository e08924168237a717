"""A bundle is opened only as it was sealed."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_bundle import make_bundle, reseal

from serve.bundle import MAX_MANIFEST_BYTES, Bundle, seal
from serve.errors import InputError
from serve.manifest import manifest_digest

FILES = (
    "manifest.json",
    "model.onnx",
    "variants/int8/model.onnx",
    "tokenizer.json",
    "samples.json",
    "adapters/default/adapter.json",
    "adapters/default/adapter.safetensors",
)


def rewrite(folder: Path, change: dict[str, Any]) -> None:
    """Forge a manifest: change keys and sign it again, as an attacker would."""
    path = folder / "manifest.json"
    value = {**json.loads(path.read_text()), **change}
    value["manifest_sha256"] = manifest_digest(value)
    path.write_text(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle for tests that put back what they change."""
    return make_bundle(tmp_path_factory.mktemp("shared") / "bundle")


def test_a_sealed_bundle_opens_with_every_file_listed(bundle_path: Path) -> None:
    bundle = Bundle.open(bundle_path)
    assert set(bundle.manifest.files) == set(FILES) - {"manifest.json"}
    assert bundle.file("model.onnx") == bundle_path / "model.onnx"


def test_sealing_again_gives_the_same_bytes(bundle_path: Path) -> None:
    before = (bundle_path / "manifest.json").read_bytes()
    seal(bundle_path, Bundle.open(bundle_path).manifest)
    assert (bundle_path / "manifest.json").read_bytes() == before


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("place", [0.0, 0.5, 1.0])
def test_one_flipped_byte_in_any_file_fails(bundle_path: Path, name: str, place: float) -> None:
    path = bundle_path / name
    data = bytearray(path.read_bytes())
    data[int(place * (len(data) - 1))] ^= 0x01
    path.write_bytes(bytes(data))
    with pytest.raises(InputError, match=re.escape(name)):
        Bundle.open(bundle_path)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_any_changed_byte_anywhere_fails(shared: Path, data: st.DataObject) -> None:
    path = shared / data.draw(st.sampled_from(FILES))
    whole = path.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    flip = data.draw(st.integers(1, 255))
    changed = bytearray(whole)
    changed[place] ^= flip
    path.write_bytes(bytes(changed))
    try:
        with pytest.raises(InputError):
            Bundle.open(shared)
    finally:
        path.write_bytes(whole)
    Bundle.open(shared)


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file_fails_before_hashing(bundle_path: Path, name: str) -> None:
    path = bundle_path / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=re.escape(name)):
        Bundle.open(bundle_path, check=False)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_fails(bundle_path: Path, name: str) -> None:
    (bundle_path / name).unlink()
    with pytest.raises(InputError, match=rf"{re.escape(name)}.*missing"):
        Bundle.open(bundle_path)


def test_a_file_that_is_not_listed_is_refused(bundle_path: Path) -> None:
    (bundle_path / "adapters" / "extra.bin").write_bytes(b"x")
    with pytest.raises(InputError, match=r"adapters/extra\.bin is not listed"):
        Bundle.open(bundle_path)


@pytest.mark.parametrize(
    "name",
    [
        "../outside",
        "adapters/../../outside",
        "/etc/hostname",
        "C:/outside",
        "..\\outside",
        "./model.onnx",
        "adapters//adapter.json",
        "",
        "a\nb",
        "manifest.json",
        "adapters/",
    ],
)
def test_a_path_that_leaves_the_bundle_is_refused_before_it_is_read(bundle_path: Path, name: str) -> None:
    files = json.loads((bundle_path / "manifest.json").read_text())["files"]
    rewrite(bundle_path, {"files": {**files, name: {"bytes": 1, "sha256": "0" * 64}}})
    with pytest.raises(InputError, match="not a path inside a bundle"):
        Bundle.open(bundle_path)


@pytest.mark.parametrize("name", ["model.onnx", "manifest.json"])
def test_a_link_to_a_file_is_refused_even_when_it_holds_the_same(bundle_path: Path, tmp_path: Path, name: str) -> None:
    moved = tmp_path / "moved"
    (bundle_path / name).rename(moved)
    (bundle_path / name).symlink_to(moved)
    with pytest.raises(InputError, match=re.escape(name)):
        Bundle.open(bundle_path)


def test_a_linked_folder_inside_is_refused(bundle_path: Path, tmp_path: Path) -> None:
    shutil.move(bundle_path / "adapters", tmp_path / "moved")
    (bundle_path / "adapters").symlink_to(tmp_path / "moved")
    with pytest.raises(InputError, match="adapters is a link"):
        Bundle.open(bundle_path)


def test_sealing_a_folder_with_a_link_is_refused(bundle_path: Path) -> None:
    manifest = Bundle.open(bundle_path).manifest
    (bundle_path / "link").symlink_to(bundle_path / "model.onnx")
    with pytest.raises(InputError, match="link is a link"):
        seal(bundle_path, manifest)


def test_an_oversized_manifest_is_refused(bundle_path: Path) -> None:
    with (bundle_path / "manifest.json").open("ab") as handle:
        handle.write(b" " * MAX_MANIFEST_BYTES)
    with pytest.raises(InputError, match=f"larger than {MAX_MANIFEST_BYTES} bytes"):
        Bundle.open(bundle_path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "not valid JSON"),
        ("[]", "must be an object"),
        ('{"format": NaN}', "NaN is no JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("\x00", "not valid JSON"),
    ],
)
def test_a_manifest_that_is_no_object_fails(bundle_path: Path, text: str, told: str) -> None:
    (bundle_path / "manifest.json").write_text(text)
    with pytest.raises(InputError, match=told):
        Bundle.open(bundle_path)


def test_other_spacing_or_a_repeated_key_in_the_manifest_is_a_change(bundle_path: Path) -> None:
    path = bundle_path / "manifest.json"
    text = path.read_text()
    for changed in (text + "\n", text.replace('  "name": "tiny"', '  "name": "tiny",\n  "name": "tiny"')):
        assert changed != text
        path.write_text(changed)
        with pytest.raises(InputError, match="bytes are not as svfit writes them"):
            Bundle.open(bundle_path)


@pytest.mark.parametrize("new", ['"name": "\\ud800"', '"name": "tiny",\n  "adapter": {"x": 1e999}'])
def test_values_that_json_cannot_write_again_are_refused(bundle_path: Path, new: str) -> None:
    path = bundle_path / "manifest.json"
    text = path.read_text()
    path.write_text(text.replace('  "name": "tiny"', f"  {new}", 1))
    with pytest.raises(InputError, match="holds what JSON can't"):
        Bundle.open(bundle_path)


def test_a_newer_format_is_told_apart_from_a_broken_one(bundle_path: Path) -> None:
    rewrite(bundle_path, {"format_version": 3, "novelty": True})
    with pytest.raises(InputError, match="3 is newer than this svfit reads"):
        Bundle.open(bundle_path)


def test_an_unknown_key_is_refused_with_a_guess(bundle_path: Path) -> None:
    rewrite(bundle_path, {"label": []})
    with pytest.raises(InputError, match=r"label: unknown key; did you mean labels\?"):
        Bundle.open(bundle_path)


def test_a_variant_without_its_file_is_refused(bundle_path: Path) -> None:
    (bundle_path / "variants" / "int8" / "model.onnx").unlink()
    with pytest.raises(InputError, match=r"variants/int8/model\.onnx is missing"):
        reseal(bundle_path)


@pytest.mark.parametrize("kind", ["absent", "file", "empty"])
def test_what_is_no_bundle_is_named(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "thing"
    if kind == "file":
        path.write_text("x")
    elif kind == "empty":
        path.mkdir()
    with pytest.raises(InputError, match="thing"):
        Bundle.open(path)
