"""The server's settings: where they come from, and that everything wrong is told at once."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from serve.config import KEYS, ServeConfig, load_config
from serve.errors import UsageError


def written(folder: Path, text: str) -> Path:
    path = folder / "site.toml"
    path.write_text(text)
    return path


def test_every_key_has_a_description_and_a_default_that_passes() -> None:
    assert all(key.metadata["description"].endswith((".", "…")) for key in KEYS.values())
    assert load_config() == ServeConfig()
    assert ServeConfig().host == "127.0.0.1"
    assert ServeConfig().cors_origins == ()


def test_what_is_given_wins_over_set_and_set_over_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, "[serve]\nport = 1\nmax_rows = 2\nworkers = 3\n")
    config = load_config(path, ["max_rows=4", "serve.port=5"], port=6, host=None)
    assert (config.port, config.max_rows, config.workers, config.host) == (6, 4, 3, "127.0.0.1")


def test_paths_of_a_file_are_relative_to_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    config = load_config(written(tmp_path, '[serve]\napi_keys_file = "keys"\n'), ["state=later"])
    assert config.api_keys_file == tmp_path / "keys"
    assert config.state == tmp_path / "here" / "later"


def test_other_tables_are_left_to_a_run(tmp_path: Path) -> None:
    assert load_config(written(tmp_path, "[train]\nepochs = 3\n[serve]\nport = 0\n")).port == 0


@pytest.mark.parametrize(
    ("value", "expected"), [("auto", "auto"), ("never", "never"), ('["a", "b"]', ("a", "b")), ("[]", ())]
)
def test_promote_is_a_word_or_a_list(value: str, expected: Any) -> None:
    assert load_config(None, [f"promote={value}"]).promote == expected


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    path = written(tmp_path, '[serve]\nmax_row = 1\nport = "x"\ntimeout_ms = 0\n')
    with pytest.raises(UsageError) as caught:
        load_config(path, ["log=loud", "nonsense", "workers=true", "max_delay_ms=nan"], threads=0)
    lines = str(caught.value).splitlines()
    assert f'{path}: serve.max_row: unknown key; did you mean "max_rows"?' in lines
    assert f'{path}: serve.port: must be a whole number of 0 to 65535 (got "x")' in lines
    assert any(line.startswith(f"{path}: serve.timeout_ms: must be a whole number of 1 to") for line in lines)
    assert '--set log: must be one of json, text, none (got "loud")' in lines
    assert "--set nonsense: must be KEY=VALUE, such as max_rows=64" in lines
    assert any(line.startswith("--set workers: must be a whole number") for line in lines)
    assert any(line.startswith("--set max_delay_ms: must be a number") for line in lines)
    assert any(line.startswith("--threads: must be a whole number") for line in lines)
    assert len(lines) == 8


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "needs a [serve] table; found: nothing"),
        ("[server]\nport = 1\n", "needs a [serve] table; found: server"),
        ("port = 1\n", "needs a [serve] table; port must stand under it"),
        ("serve = 3\n", "needs a [serve] table"),
        ("[serve\n", "not valid TOML"),
    ],
)
def test_a_file_without_settings_is_refused(tmp_path: Path, text: str, told: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        load_config(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert told in str(caught.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"missing\.toml: can't be read"):
        load_config(tmp_path / "missing.toml")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"timeout_ms": 10, "max_timeout_ms": 5}, "must not be above max_timeout_ms"),
        ({"tls_cert": Path("c")}, "goes with tls_key"),
        ({"tls_key": Path("k")}, "goes with tls_key"),
        ({"max_rows": None}, "must be a whole number"),
        ({"cors_origins": ("",)}, "must be a list of texts"),
        ({"host": ""}, "must be text"),
    ],
)
def test_what_does_not_go_together_is_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        dataclasses.replace(ServeConfig(), **changes)
