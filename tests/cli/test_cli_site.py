"""push, pull, rollback and releases where no server answers as it should: one line each."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tiny_bundle import make_bundle

from pipeline.cli import main
from serve.site.client import Client


def svfit(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


class Strange(http.server.BaseHTTPRequestHandler):
    """Answers each path with what no server of ours would."""

    def do_GET(self) -> None:
        if self.path == "/v1/site":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>")
        else:
            self.send_response(200)
            self.send_header("content-length", "1000")
            self.end_headers()
            self.wfile.write(b"PK")
        self.close_connection = True

    def do_POST(self) -> None:
        self.send_response(302)
        self.send_header("location", "http://elsewhere")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        return


@pytest.fixture
def strange() -> Iterator[str]:
    with http.server.HTTPServer(("127.0.0.1", 0), Strange) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("releases",), "name a server's URL, or a site's folder"),
        (("rollback", "http://x", "--site", "y"), "name a server's URL, or a site's folder"),
        (("releases", "ftp://x"), "is no address of a server"),
        (("releases", "http://x:port"), "x:port"),
        (("releases", "https://x", "--ca", "missing.pem"), "missing.pem: can't be used as certificates"),
    ],
)
def test_what_makes_no_sense_is_told_as_usage(arguments: tuple[str, ...], told: str) -> None:
    result = svfit(*arguments)
    assert result.exit_code == 2
    assert told in result.stderr


def test_a_server_that_is_not_there_or_another_is_told_in_one_line(strange: str, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle")
    cases = [
        (("releases", "http://127.0.0.1:9"), "can't be asked"),
        (("releases", strange), "no JSON; is it svfit's server?"),
        (("rollback", strange), "302 Found for /v1/site/rollback"),
        (("push", bundle, strange), "no JSON"),
        (("pull", strange, tmp_path / "out"), "ended before the release was whole"),
    ]
    for arguments, told in cases:
        result = svfit(*arguments)
        assert result.exit_code == 1, arguments
        assert told in result.stderr
        assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["", "one\ntwo\n", "k\u00e9y"])
def test_a_key_file_holds_one_key(tmp_path: Path, text: str) -> None:
    (tmp_path / "key").write_text(text)
    result = svfit("releases", "http://127.0.0.1:9", "--key-file", tmp_path / "key")
    assert result.exit_code == 2
    assert "must hold one key" in result.stderr


def test_a_url_may_leave_out_the_scheme_and_have_a_path(strange: str) -> None:
    host = strange.removeprefix("http://")
    with pytest.raises(Exception, match="302 Found for /v1/site/rollback"):
        Client(f"{host}/behind/a/proxy/").roll_back()
