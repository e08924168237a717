"""What stands in deploy/ and the Dockerfile fits what svfit is: packages, files, commands, the health check."""

from __future__ import annotations

import importlib.util
import re
import shlex
import threading
import tomllib
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import requires
from pathlib import Path
from types import ModuleType

import click
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pipeline.cli import main
from serve.config import load_config

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
UNUSED = {("tokenizers", "huggingface-hub"), ("rich", "pygments"), ("rich", "markdown-it-py")}
"""Dependencies that nothing svfit does with the first ever imports: what the image leaves out."""


def base() -> set[str]:
    """What the base install brings, less UNUSED."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return needed("svfit", project["dependencies"], set())


def needed(package: str, asked_for: Sequence[str], found: set[str]) -> set[str]:
    """A package's dependencies on this machine, theirs too, but for UNUSED."""
    for text in asked_for:
        wanted = Requirement(text)
        name = canonicalize_name(wanted.name)
        asked = wanted.marker is None or wanted.marker.evaluate({"extra": ""})
        if asked and name not in found and (package, name) not in UNUSED:
            found.add(name)
            needed(name, requires(name) or (), found)
    return found


def test_the_images_packages_are_the_base_install_less_what_is_never_imported() -> None:
    lines = (ROOT / "deploy" / "serve.txt").read_text("utf-8").splitlines()
    listed = [canonicalize_name(line) for line in lines if line and not line.startswith("#")]
    assert listed == sorted(set(listed))
    assert set(listed) == base()


def test_each_of_them_has_its_version_in_the_constraints() -> None:
    pinned = {
        canonicalize_name(line.partition("==")[0]) for line in (ROOT / "constraints.txt").read_text().splitlines()
    }
    assert base() - pinned == set()


def test_what_the_dockerfile_copies_exists_and_is_let_through() -> None:
    copied = [words.split()[:-1] for words in re.findall(r"^COPY (?!--)(.+)$", DOCKERFILE, re.MULTILINE)]
    names = {name for words in copied for name in words}
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert "*" in lines
    assert names == {line[1:] for line in lines if line.startswith("!")}
    assert [name for name in names if not (ROOT / name).exists()] == []


def test_the_image_for_serving_is_the_last_and_runs_as_nobody_in_particular() -> None:
    last = DOCKERFILE.split("\nFROM ")[-1]
    assert last.startswith("${BASE} AS serve\n")
    assert "\nUSER 10001:10001\n" in last
    assert "pip" not in re.sub(r"^#.*$", "", last, flags=re.MULTILINE)


def commands() -> dict[str, list[str]]:
    """The words after `svfit` in the image, the compose file and the unit."""
    image = yaml.safe_load(DOCKERFILE.rpartition("\nCMD ")[2])
    compose = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text("utf-8"))["services"]["svfit"]["command"]
    unit = (ROOT / "deploy" / "svfit.service").read_text("utf-8").replace("\\\n", " ")
    (line,) = re.findall(r"^ExecStart=(.+)$", unit, re.MULTILINE)
    given = dict(
        word.split("=") for words in re.findall(r"^Environment=(.+)$", unit, re.MULTILINE) for word in words.split()
    )
    for name, value in given.items():
        line = line.replace(f"${{{name}}}", value)
    return {"image": image, "compose": compose, "unit": shlex.split(line)[1:]}


@pytest.mark.parametrize("where", ["image", "compose", "unit"])
def test_the_server_takes_the_command_that_starts_it(where: str) -> None:
    name, *arguments = commands()[where]
    command = main.get_command(click.Context(main), name)
    assert command is not None
    given = command.make_context(name, arguments).params
    config = load_config(None, given["overrides"], host=given["host"], port=given["port"], state=given["state"])
    assert config.port == 8080
    assert (config.api_keys_file is None) is (where == "image")


@pytest.fixture(scope="module")
def health() -> ModuleType:
    spec = importlib.util.spec_from_file_location("health", ROOT / "deploy" / "health.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def answering() -> Iterator[tuple[str, list[int]]]:
    """A server's address, and the list whose last number is the status of its answers."""
    statuses = [200]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(statuses[-1] if self.path == "/v1/health/ready" else 404)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            return

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", statuses
        server.shutdown()
        thread.join()


def test_the_health_check_tells_ready_from_not_ready_and_from_nobody(
    health: ModuleType, answering: tuple[str, list[int]]
) -> None:
    url, statuses = answering
    assert health.ready(url)
    statuses.append(503)
    assert not health.ready(url)
    assert not health.ready("http://127.0.0.1:9", seconds=0.5)
