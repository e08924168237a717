"""`svfit keys`, `pack` and `unpack`, and `--trust` wherever it is, as a person calls them."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tiny_bundle import make_bundle

from pipeline.cli import main
from serve.bundle import Bundle


def svfit(*arguments: object) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


def document(*arguments: object) -> dict[str, Any]:
    result = svfit(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    parsed: dict[str, Any] = json.loads(result.stdout)
    return parsed


def told(result: Result) -> str:
    """The one line of a refusal."""
    assert result.exit_code == 1
    assert result.stdout == ""
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    return line


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with `bundle`, its current one, and two pairs of keys."""
    monkeypatch.chdir(tmp_path)
    make_bundle(tmp_path / "bundle")
    for name in ("site", "other"):
        document("keys", "new", f"{name}.pem", "--comment", f"the {name} key")
    return tmp_path


def test_keys_are_made_shown_and_never_overwritten(here: Path) -> None:
    assert stat.S_IMODE((here / "site.pem").stat().st_mode) == 0o600
    site, other = document("keys", "show", "site.pub", "other.pub")["keys"]
    assert (site["comment"], other["comment"]) == ("the site key", "the other key")
    assert site["line"] == (here / "site.pub").read_text().strip()
    assert svfit("keys", "show", "site.pub").stdout == f"{site['id']}  the site key\n"
    before = (here / "site.pem").read_bytes()
    assert "site.pem: is there already" in told(svfit("keys", "new", "site.pem", "--public", "new.pub"))
    assert (here / "site.pem").read_bytes() == before
    made = svfit("keys", "new", "third.pem", "--public", "deep/third.pub")
    assert "third.pem signs, and stays here; deep/third.pub is for those who trust it" in made.stdout


def test_a_bundle_goes_through_an_archive_signed_and_trusted(here: Path) -> None:
    key = document("keys", "show", "site.pub")["keys"][0]["id"]
    packed = document("pack", "bundle", "--sign-with", "site.pem")
    assert packed["archive"] == "tiny.svfit.zip"
    assert packed["bytes"] == (here / "tiny.svfit.zip").stat().st_size
    assert packed["signed_by"] == key
    there = document("unpack", "tiny.svfit.zip", "there", "--trust", "site.pub")
    assert (there["signed_by"], there["trusted"], there["files"]) == (key, True, 6)
    assert Bundle.open(here / "there").manifest.manifest_sha256 == packed["manifest_sha256"] == there["manifest_sha256"]


def test_what_is_said_tells_a_proven_signature_from_a_claimed_one(here: Path) -> None:
    assert "6 files in " in svfit("pack", "bundle", "plain.zip").stdout
    assert svfit("unpack", "plain.zip", "a").stdout.endswith("not signed\n")
    assert "signed by key" in svfit("pack", "bundle", "signed.zip", "--sign-with", "site.pem").stdout
    assert "not checked: no --trust" in svfit("unpack", "signed.zip", "b").stdout
    assert "signed by key" in svfit("unpack", "signed.zip", "c", "--trust", "other.pub", "--trust", "site.pub").stdout


def test_a_large_bundle_is_refused_by_its_limit(here: Path) -> None:
    svfit("pack", "bundle", "x.zip")
    assert "over the 1048 that it may have" in told(svfit("unpack", "x.zip", "there", "--max-mb", "0.001"))
    assert not (here / "there").exists()


@pytest.mark.parametrize("command", ["verify", "predict", "serve"])
def test_only_what_a_trusted_key_signed_is_loaded(here: Path, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rest = {"predict": ("the pump",), "serve": ("--port", 0, "--quiet")}.get(command, ())

    def load(*_: Any, **__: Any) -> Any:
        raise AssertionError("a graph is loaded")

    monkeypatch.setattr("serve.session.load", load)
    assert "isn't signed, and only" in told(svfit(command, "bundle", *rest, "--trust", "site.pub"))
    document("pack", "bundle", "x.zip", "--sign-with", "other.pem")
    assert "which isn't trusted" in told(svfit(command, "bundle", *rest, "--trust", "site.pub"))
    assert "a graph is loaded" in str(told(svfit(command, "bundle", *rest, "--trust", "other.pub")))


@pytest.mark.parametrize("command", ["verify", "predict"])
def test_a_trusted_bundle_answers(here: Path, command: str) -> None:
    document("pack", "bundle", "x.zip", "--sign-with", "site.pem")
    rest = ("the pump",) if command == "predict" else ()
    assert svfit(command, "bundle", *rest, "--trust", "site.pub").exit_code == 0


def test_a_servers_settings_name_whom_it_trusts(here: Path) -> None:
    (here / "site").mkdir()
    (here / "site.pub").rename(here / "site" / "keys.pub")
    (here / "site" / "serve.toml").write_text('[serve]\ntrust = ["keys.pub"]\n')
    refused = svfit("serve", "bundle", "--config", "site/serve.toml", "--port", "0", "--quiet")
    assert "isn't signed, and only" in told(refused)
    refused = svfit("serve", "bundle", "--set", 'trust=["absent.pub"]', "--port", "0", "--quiet")
    assert "absent.pub: can't be read" in told(refused)
    wrong = svfit("serve", "bundle", "--set", "trust=site.pub")
    assert wrong.exit_code == 2
    assert 'trust: must be a list of paths, such as ["site.pub"]' in wrong.stderr


def test_an_archive_where_a_folder_is_wanted_is_told_what_to_do(here: Path) -> None:
    svfit("pack", "bundle", "x.zip")
    assert "of an archive `svfit unpack` makes one" in told(svfit("predict", "x.zip", "the pump"))
    assert "a bundle's folder needs no unpacking" in told(svfit("unpack", "bundle", "there"))
