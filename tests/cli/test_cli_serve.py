"""`svfit serve` before it serves: what it reads, and what it refuses in one line."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tiny_swap import make_swap_bundle

from pipeline.cli import main
from serve.config import ServeConfig
from serve.http.server import Started


class Stand(ModuleType):
    """`serve.http.server` as the command sees it: remembers what it is asked to run, and says it started."""

    def __init__(self) -> None:
        super().__init__("serve.http.server")
        self.asked: list[tuple[Path, ServeConfig]] = []
        self.grpc: str | None = None

    def run(self, bundle: Path, config: ServeConfig, *, environment: Any, announce: Any) -> None:
        self.asked.append((bundle, config))
        announce(Started("http://127.0.0.1:8080", self.grpc, "site", "int8", 1))


@pytest.fixture
def stand(monkeypatch: pytest.MonkeyPatch) -> Stand:
    made = Stand()
    monkeypatch.setitem(sys.modules, "serve.http.server", made)
    return made


def serve(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["serve", *map(str, arguments)])


def test_options_win_over_settings_and_settings_over_the_file(stand: Stand, tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text('[serve]\nport = 1\nmax_rows = 2\nvariant = "fp32"\n')
    result = serve("site.bundle", "--config", path, "--set", "port=3", "--set", "workers=4", "--port", "5")
    assert result.exit_code == 0, result.stderr
    ((bundle, config),) = stand.asked
    assert bundle == Path("site.bundle")
    assert (config.port, config.max_rows, config.workers, config.variant) == (5, 2, 4, "fp32")


def test_every_option_reaches_the_server(stand: Stand, tmp_path: Path) -> None:
    options = ["--host", "::1", "--grpc-port", "0", "--state", str(tmp_path), "--variant", "int8", "--threads", "2"]
    assert serve("b", *options, "--quiet").exit_code == 0
    config = stand.asked[0][1]
    assert (config.host, config.grpc_port, config.state) == ("::1", 0, tmp_path)
    assert (config.variant, config.threads, config.log) == ("int8", 2, "none")


def test_it_says_where_it_answers(stand: Stand) -> None:
    assert serve("b").stdout == (
        "site (int8, 1 adapter) answers at http://127.0.0.1:8080; http://127.0.0.1:8080/docs\n"
    )
    stand.grpc = "127.0.0.1:8081"
    assert "and gRPC at 127.0.0.1:8081" in serve("b").stdout
    assert json.loads(serve("b", "--json").stdout) == {
        "url": "http://127.0.0.1:8080",
        "grpc": "127.0.0.1:8081",
        "bundle": "site",
        "variant": "int8",
        "adapters": 1,
    }


def test_wrong_settings_are_told_together_as_usage(stand: Stand) -> None:
    result = serve("b", "--set", "max_row=1", "--set", "port=x")
    assert result.exit_code == 2
    assert 'did you mean "max_rows"?' in result.stderr
    assert "--set port: must be a whole number" in result.stderr
    assert stand.asked == []


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return make_swap_bundle(tmp_path / "site.bundle")


def test_a_bundle_that_is_none_ends_the_server(tmp_path: Path) -> None:
    result = serve(tmp_path / "nothing", "--port", 0, "--quiet")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: bundle ")
    assert result.stdout == ""


def test_a_port_that_is_taken_is_told(site: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = serve(site, "--port", taken.getsockname()[1], "--quiet")
    assert result.exit_code == 2
    assert "try --port 0" in result.stderr


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["tls_cert=nothing.pem", "tls_key=nothing.pem"], "nothing.pem: no such file"),
        (["tls_cert=text.pem", "tls_key=text.pem"], "must be PEM"),
        (["api_keys_file=nothing"], "nothing: can't be read"),
        (["tls_cert=text.pem"], "goes with tls_key"),
    ],
)
def test_files_that_can_not_be_used_end_it_before_it_listens(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: list[str], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.pem").write_text("no certificate")
    result = serve(site, "--port", 0, "--quiet", *(part for one in settings for part in ("--set", one)))
    assert result.exit_code == 2
    assert told in result.stderr
