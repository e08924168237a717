"""Keys in files: made once, told apart, and read strictly."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from serve.delivery.keys import MAX_FILE_BYTES, new_key, public_of, read_private, read_public, read_trusted
from serve.errors import Conflict, InputError, UsageError


def test_a_pair_belongs_together_and_the_private_half_is_its_owners_alone(tmp_path: Path) -> None:
    made = new_key(tmp_path / "deep" / "a.pem", tmp_path / "a.pub", "  site\n one ")
    public = read_public(tmp_path / "a.pub")
    private = read_private(tmp_path / "deep" / "a.pem")
    assert public == public_of(private, "site one")
    assert made == public.id == hashlib.sha256(private.public_key().public_bytes_raw()).hexdigest()[:16]
    assert stat.S_IMODE((tmp_path / "deep" / "a.pem").stat().st_mode) == 0o600
    assert (tmp_path / "a.pub").read_text() == f"{public.line}\n"
    assert public.line.startswith("svfit-ed25519 ")
    assert (tmp_path / "deep" / "a.pem").read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----")


def test_two_keys_are_never_the_same(tmp_path: Path) -> None:
    assert new_key(tmp_path / "a", tmp_path / "b") != new_key(tmp_path / "c", tmp_path / "d")


@pytest.mark.parametrize("there", ["a.pem", "a.pub"])
@pytest.mark.parametrize("kind", ["file", "dangling"])
def test_a_key_is_never_overwritten(tmp_path: Path, there: str, kind: str) -> None:
    if kind == "file":
        (tmp_path / there).write_text("mine")
    else:
        (tmp_path / there).symlink_to(tmp_path / "nowhere")
    with pytest.raises(Conflict, match="never overwritten"):
        new_key(tmp_path / "a.pem", tmp_path / "a.pub")
    assert [path.name for path in tmp_path.iterdir()] == [there]


def test_one_file_for_both_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="name two files"):
        new_key(tmp_path / "a.pub", tmp_path / "a.pub")
    assert list(tmp_path.iterdir()) == []


def test_no_half_of_a_pair_is_left_where_the_other_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError, match="file"):
        new_key(tmp_path / "a.pem", tmp_path / "file" / "a.pub")
    assert not (tmp_path / "a.pem").exists()


@pytest.mark.parametrize("comment", ["x" * 201, "a\x1b[31mb", "a\0b"])
def test_a_comment_that_would_play_tricks_on_a_terminal_is_refused(tmp_path: Path, comment: str) -> None:
    with pytest.raises(InputError, match="comment"):
        new_key(tmp_path / "a.pem", tmp_path / "a.pub", comment)
    line = f"{read_line(tmp_path)} {comment}"
    (tmp_path / "trust").write_text(line)
    with pytest.raises(InputError, match=r"line 1: its comment|not text"):
        read_trusted([tmp_path / "trust"])


def read_line(folder: Path) -> str:
    new_key(folder / "fine.pem", folder / "fine.pub")
    return read_public(folder / "fine.pub").line


def test_a_file_of_trust_holds_several_keys_each_counted_once(tmp_path: Path, key_folder: Path) -> None:
    site, other = ((key_folder / f"{name}.pub").read_text() for name in ("site", "other"))
    (tmp_path / "trust").write_text(f"# ours\n\n{site}  {other}{site}")
    found = read_trusted([tmp_path / "trust", key_folder / "other.pub"])
    assert [key.comment for key in found] == ["the site key", "the other key"]
    with pytest.raises(InputError, match="holds 2 public keys"):
        read_public(tmp_path / "trust")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "holds no public key"),
        ("# nobody\n", "holds no public key"),
        ("ssh-ed25519 AAAA me", "line 1: begins with 'ssh-ed25519'"),
        ("svfit-ed25519", "not the base64 of an ed25519 key"),
        ("svfit-ed25519 !!!!", "not the base64 of an ed25519 key"),
        ("svfit-ed25519 AAAA", "not the base64 of an ed25519 key"),
        ("svfit-ed25519 " + "A" * 42 + "B=", "not the base64 of an ed25519 key"),
        ("# one\nsvfit-ed25519 é", "line 2"),
        ("-----BEGIN PRIVATE KEY-----\nx", "is a private key, which belongs to whoever signs"),
        (b"\xff\xfe", "not text"),
        ("#" * (MAX_FILE_BYTES + 1), f"over the {MAX_FILE_BYTES}"),
    ],
)
def test_a_file_of_trust_that_is_wrong_trusts_nobody(tmp_path: Path, text: str | bytes, told: str) -> None:
    path = tmp_path / "trust"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=told) as caught:
        read_trusted([path])
    assert str(caught.value).startswith(str(path))
    with pytest.raises(InputError, match="absent"):
        read_trusted([tmp_path / "absent"])


@pytest.mark.parametrize("kind", ["public", "locked", "curve", "text", "empty", "folder", "absent"])
def test_what_cannot_sign_is_named(tmp_path: Path, key_folder: Path, kind: str) -> None:
    path = tmp_path / "key"
    locked = BestAvailableEncryption(b"secret")
    contents = {
        "public": (key_folder / "site.pub").read_bytes(),
        "locked": ed25519.Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked),
        "curve": ec.generate_private_key(ec.SECP256R1()).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        ),
        "text": b"hello",
        "empty": b"",
    }
    told = {"public": "the public key", "locked": "password", "curve": "another kind", "folder": "not a plain file"}
    if kind in contents:
        path.write_bytes(contents[kind])
    elif kind == "folder":
        path.mkdir()
    with pytest.raises(InputError, match=told.get(kind, "key")) as caught:
        read_private(path)
    assert "\n" not in str(caught.value)
