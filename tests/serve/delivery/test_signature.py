"""A signature beside the manifest: it holds for this bundle and this key, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_bundle import make_bundle, reseal
from tiny_swap import make_swap_bundle

from serve.bundle import MAX_SIGNATURE_BYTES, Bundle
from serve.delivery import keys, signature
from serve.delivery.keys import PublicKey
from serve.errors import InputError


def test_a_signed_bundle_opens_with_and_without_trust(signed_path: Path, key_folder: Path, site_key: PublicKey) -> None:
    bundle = Bundle.open(signed_path)
    assert "signature.json" not in bundle.manifest.files
    assert signature.check(bundle, [site_key]) == site_key.id
    trusting = signature.open_trusted(signed_path, [key_folder / "other.pub", key_folder / "site.pub"])
    assert trusting == signature.open_trusted(signed_path, []) == bundle


def test_signing_again_gives_the_same_bytes_and_another_key_replaces_it(signed_path: Path, key_folder: Path) -> None:
    path = signed_path / "signature.json"
    before = path.read_bytes()
    signature.sign(signed_path, keys.read_private(key_folder / "site.pem"))
    assert path.read_bytes() == before
    other = keys.read_public(key_folder / "other.pub")
    assert signature.sign(signed_path, keys.read_private(key_folder / "other.pem")) == other.id
    assert signature.check(Bundle.open(signed_path), [other]) == other.id


def test_a_swappable_bundle_is_signed_too(tmp_path: Path, key_folder: Path, site_key: PublicKey) -> None:
    path = make_swap_bundle(tmp_path / "swap")
    signature.sign(path, keys.read_private(key_folder / "site.pem"))
    assert signature.check(Bundle.open(path), [site_key]) == site_key.id


def test_sealing_the_same_files_again_keeps_the_signature_good(signed_path: Path, site_key: PublicKey) -> None:
    reseal(signed_path)
    assert signature.check(Bundle.open(signed_path), [site_key]) == site_key.id


def test_a_bundle_changed_and_sealed_again_is_not_the_signed_one(signed_path: Path, site_key: PublicKey) -> None:
    reseal(signed_path, name="other")
    with pytest.raises(InputError, match="its signature is wrong"):
        signature.check(Bundle.open(signed_path), [site_key])


def test_the_signature_of_another_bundle_does_not_hold(tmp_path: Path, signed_path: Path, site_key: PublicKey) -> None:
    other = make_bundle(tmp_path / "other")
    reseal(other, name="other")
    (other / "signature.json").write_bytes((signed_path / "signature.json").read_bytes())
    with pytest.raises(InputError, match="its signature is wrong"):
        signature.check(Bundle.open(other), [site_key])


def test_strangers_are_refused_and_those_trusted_are_named(
    bundle_path: Path, signed_path: Path, key_folder: Path, site_key: PublicKey
) -> None:
    with pytest.raises(InputError, match=rf"by key {site_key.id}, which isn't trusted \(trusted: \w+ the other key\)"):
        signature.open_trusted(signed_path, [key_folder / "other.pub"])
    with pytest.raises(InputError, match=r"isn't trusted \(trusted: none\)"):
        signature.check(Bundle.open(signed_path), [])
    (bundle_path / "signature.json").unlink()
    with pytest.raises(InputError, match="isn't signed"):
        signature.open_trusted(bundle_path, [key_folder / "site.pub"])


def test_a_changed_bundle_is_not_signed(bundle_path: Path, key_folder: Path) -> None:
    (bundle_path / "model.onnx").write_bytes(b"x")
    with pytest.raises(InputError, match=r"model\.onnx was changed"):
        signature.sign(bundle_path, keys.read_private(key_folder / "site.pem"))
    assert not (bundle_path / "signature.json").exists()


@pytest.mark.parametrize("kind", ["link", "folder", "large"])
def test_a_signature_that_is_no_small_plain_file_is_refused(signed_path: Path, tmp_path: Path, kind: str) -> None:
    path = signed_path / "signature.json"
    if kind == "large":
        path.write_bytes(b" " * (MAX_SIGNATURE_BYTES + 1))
    elif kind == "link":
        path.rename(tmp_path / "moved")
        path.symlink_to(tmp_path / "moved")
    else:
        path.unlink()
        path.mkdir()
        (path / "x").write_text("x")
    with pytest.raises(InputError, match=r"signature\.json"):
        Bundle.open(signed_path)
    with pytest.raises(InputError, match=r"signature\.json"):
        signature.read(signed_path)


@pytest.mark.parametrize("name", ["Signature.json", "signature.json.bak", "adapters/signature.json"])
def test_no_other_name_is_tolerated(signed_path: Path, name: str) -> None:
    (signed_path / name).write_bytes((signed_path / "signature.json").read_bytes())
    with pytest.raises(InputError, match="is not listed"):
        Bundle.open(signed_path)


@pytest.mark.parametrize("place", range(0, 219, 7))
def test_a_flipped_byte_of_the_signature_is_refused(signed_path: Path, site_key: PublicKey, place: int) -> None:
    data = bytearray((signed_path / "signature.json").read_bytes())
    data[place] ^= 1
    (signed_path / "signature.json").write_bytes(bytes(data))
    with pytest.raises(InputError, match=r"signature|isn't trusted"):
        signature.check(Bundle.open(signed_path), [site_key])
