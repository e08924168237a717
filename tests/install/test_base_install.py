"""The wheel in a fresh environment with the base dependencies alone: it is ours, and it answers, over library,
command line and HTTP."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import os
import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "helpers"))

from tiny_bundle import make_bundle  # noqa: E402
from tiny_swap import make_adapter, make_swap_bundle  # noqa: E402

pytestmark = pytest.mark.install
PACKAGES = ("serve", "export", "pipeline")
ABSENT = ("torch", "transformers", "onnx", "peft", "datasets", "scipy", "sklearn", "grpc")
LEFT_OUT = ("huggingface_hub", "hf_xet", "fsspec", "filelock", "yaml", "tqdm", "pygments", "markdown_it")


def run(*command: str | Path, code: int = 0, cwd: Path) -> str:
    """A command's stdout (its stderr, if it is to fail); the test fails if its exit code isn't `code`."""
    clean = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, cwd=cwd, env=clean
    )
    assert done.returncode == code, f"{command}: {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stderr if code else done.stdout


@contextmanager
def serving(cwd: Path, *command: str | Path) -> Iterator[str]:
    """The address of a server that a command starts; it must end well when told to."""
    words = [*map(str, command), "--port", "0", "--json"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=cwd) as server:
        try:
            assert server.stdout is not None
            yield json.loads(server.stdout.readline())["url"]
        finally:
            server.terminate()
        assert server.wait(timeout=30) == 0


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of what git tracks or would, so that no leftover of a build comes along."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT)
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file() and not name.startswith("runs/"):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", folder, source, cwd=folder)
    (made,) = folder.glob("svfit-*.whl")
    return made


@pytest.fixture(scope="module")
def device(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel and its base dependencies; its folder of programs."""
    folder = tmp_path_factory.mktemp("device")
    run(sys.executable, "-m", "venv", folder / "env", cwd=folder)
    programs = folder / "env" / ("Scripts" if os.name == "nt" else "bin")
    pinned = ROOT / "constraints.txt"
    pins = ["-c", pinned] if pinned.is_file() else []
    run(programs / "python", "-m", "pip", "install", "-q", *pins, wheel, cwd=folder)
    return programs


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "bundle")


def test_the_wheel_ships_our_packages_and_no_tests(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.partition("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == set(PACKAGES)
    sources = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix == ".py"
    }
    assert sources - set(names) == set()  # a package that pyproject.toml forgets would be missing here


def test_what_is_installed_is_ours_byte_for_byte(device: Path, tmp_path: Path) -> None:
    script = (
        "import importlib, importlib.metadata as m, json, sysconfig\n"
        "files = {n: importlib.import_module(n).__file__ for n in ('serve', 'export', 'pipeline')}\n"
        "dist = m.distribution('svfit')\n"
        "print(json.dumps([sysconfig.get_path('purelib'), files, dist.read_text('RECORD')]))\n"
    )
    site, files, record = json.loads(run(device / "python", "-c", script, cwd=tmp_path))
    hashes = {row[0]: row[1] for row in csv.reader(record.splitlines())}
    for package in PACKAGES:
        name = f"{package}/__init__.py"
        assert Path(files[package]) == Path(site) / name
        digest = base64.urlsafe_b64encode(hashlib.sha256((ROOT / name).read_bytes()).digest())
        assert hashes[name] == f"sha256={digest.decode().rstrip('=')}"


def test_training_packages_and_tests_are_absent(device: Path, tmp_path: Path) -> None:
    script = (
        "import importlib.util, json\n"
        f"print(json.dumps([n for n in {(*ABSENT, 'tests')!r} if importlib.util.find_spec(n)]))\n"
    )
    assert json.loads(run(device / "python", "-c", script, cwd=tmp_path)) == []


def test_help_of_every_command_answers(device: Path, tmp_path: Path) -> None:
    table = "from pipeline.cli.table import COMMANDS; print(*COMMANDS)"
    assert "predict" in run(device / "svfit", "--help", cwd=tmp_path)
    for name in run(device / "python", "-c", table, cwd=tmp_path).split():
        assert "Usage: svfit" in run(device / "svfit", name, "--help", cwd=tmp_path)


def test_predict_and_verify_answer_there(device: Path, bundle: Path, tmp_path: Path) -> None:
    out = run(device / "svfit", "predict", bundle, "the pump is leaking", "--json", cwd=tmp_path)
    (answer,) = json.loads(out)["predictions"]
    assert answer["label"] in ("hvac", "plumbing", "other")
    rows = tmp_path / "rows.csv"
    rows.write_text("text\nthe fan\nagain\n")
    assert len(run(device / "svfit", "predict", bundle, "--file", rows, cwd=tmp_path).splitlines()) == 2
    assert json.loads(run(device / "svfit", "verify", bundle, "--json", cwd=tmp_path))["passed"] is True


def test_the_library_answers_there(device: Path, bundle: Path, tmp_path: Path) -> None:
    script = (
        "import json, sys\n"
        "from serve.predictor import Predictor\n"
        "from serve.runtime import Runtime\n"
        "(one,) = Predictor(sys.argv[1]).predict(['the pump is leaking'])\n"
        "with Runtime(sys.argv[1]) as runtime: (other,) = runtime.predict('the pump is leaking')\n"
        "print(json.dumps([one.label, other.label, one.score == other.score]))\n"
    )
    one, other, alike = json.loads(run(device / "python", "-c", script, bundle, cwd=tmp_path))
    assert (one, alike) == (other, True)
    assert one in ("hvac", "plumbing", "other")


def test_a_merged_bundle_is_served_there(device: Path, bundle: Path, tmp_path: Path) -> None:
    with serving(tmp_path, device / "svfit", "serve", bundle) as url:
        body = json.dumps({"text": ["the pump is leaking", "the fan"]}).encode()
        with urllib.request.urlopen(f"{url}/v1/predict", data=body, timeout=30) as reply:  # noqa: S310
            results = json.load(reply)["results"]
    assert [result["label"] in ("hvac", "plumbing", "other") for result in results] == [True, True]


def test_what_the_image_leaves_out_is_not_missed(device: Path, bundle: Path, tmp_path: Path) -> None:
    """The packages that deploy/serve.txt hasn't are made to fail on import: commands and server don't notice."""
    script = tmp_path / "without.py"
    script.write_text(
        "import sys\n"
        f"for name in {LEFT_OUT!r}: sys.modules[name] = None\n"
        "from pipeline.cli import main\n"
        "main(prog_name='svfit')\n"
    )
    python = device / "python"
    gone = "import importlib.util, sys; sys.exit(all(map(importlib.util.find_spec, sys.argv[1:])) - 1)"
    run(python, "-c", gone, *LEFT_OUT, cwd=tmp_path)  # they are there, so the names are right
    assert "plumbing" in run(python, script, "predict", bundle, "the pump", "--format", "table", cwd=tmp_path)
    assert run(python, script, "verify", bundle, cwd=tmp_path)
    assert run(python, script, "doctor", cwd=tmp_path)
    with (
        serving(tmp_path, python, script, "serve", bundle) as url,
        urllib.request.urlopen(f"{url}/openapi.json", timeout=30) as reply,  # noqa: S310
    ):
        assert "/v1/predict" in json.load(reply)["paths"]


def test_adapters_come_and_the_server_answers_there(device: Path, tmp_path: Path) -> None:
    bundle = make_swap_bundle(tmp_path / "site.bundle")
    adapter = make_adapter(tmp_path / "returns", seed=7, labels=("broken", "late"))
    run(device / "svfit", "adapter", "add", bundle, adapter, "--name", "returns", cwd=tmp_path)
    with serving(tmp_path, device / "svfit", "serve", bundle) as url:
        body = json.dumps({"adapter": ["returns", "alpha"], "text": ["it arrived broken", "the pump"]}).encode()
        with urllib.request.urlopen(f"{url}/v1/predict", data=body, timeout=30) as reply:  # noqa: S310
            results = json.load(reply)["results"]
    assert [result["adapter"] for result in results] == ["returns@1", "alpha@1"]
    assert results[0]["label"] in ("broken", "late")


def test_doctor_works_there_and_training_says_what_it_needs(device: Path, tmp_path: Path) -> None:
    assert run(device / "svfit", "doctor", cwd=tmp_path)
    (tmp_path / "task.toml").write_text('[model]\nbase = "pypi:x"\n[data]\ntrain = "train.csv"\n')
    (tmp_path / "train.csv").write_text("text,label\nthe pump,plumbing\n")
    told = run(device / "svfit", "run", "task.toml", code=1, cwd=tmp_path)
    assert "pip install 'svfit[train]'" in told
