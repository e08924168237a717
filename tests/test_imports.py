"""Imports go down only: pipeline → export → serve."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ABSENT = ("torch", "transformers", "onnx", "peft", "datasets", "sklearn", "scipy")
"""What a device lacks."""
WEB = ("fastapi", "starlette", "uvicorn", "pydantic", "prometheus_client", "grpc", "google", "click", "rich")
"""What only the server's two doors may know, `serve.http` and `serve.rpc`."""
FORBIDDEN = {"serve": {"export", "pipeline", *ABSENT}, "export": {"pipeline"}}


def modules(package: str) -> list[str]:
    """Dotted names of a package's modules."""
    paths = sorted((ROOT / package).rglob("*.py"))
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths]
    return [name.removesuffix(".__init__") for name in names]


def imported(path: Path) -> set[str]:
    """Top-level names that a file imports anywhere, inside functions too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add((node.module or "").partition(".")[0])
        elif isinstance(node, ast.ImportFrom) and node.level > len(path.relative_to(ROOT).parts) - 1:
            found.add(f"relative import out of {path.name}")
    return found


@pytest.mark.parametrize("package", sorted(FORBIDDEN))
def test_no_file_imports_from_a_package_above_it(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    wrong = {str(path.relative_to(ROOT)): sorted(imported(path) & FORBIDDEN[package]) for path in files}
    assert {name: names for name, names in wrong.items() if names} == {}


def loaded(names: list[str], looked_for: tuple[str, ...]) -> list[str]:
    """Which of some packages are loaded once these modules are, in a process of its own."""
    script = (
        "import importlib, json, sys\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
        f"print(json.dumps([name for name in {looked_for!r} if name in sys.modules]))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    found: list[str] = json.loads(done.stdout)
    return found


def test_every_module_of_serve_loads_without_what_a_device_lacks() -> None:
    assert loaded(modules("serve"), ABSENT) == []


def test_the_core_of_serve_knows_no_web_framework() -> None:
    core = [name for name in modules("serve") if not name.startswith(("serve.http", "serve.rpc"))]
    assert "serve.runtime" in core
    assert loaded(core, (*ABSENT, *WEB)) == []


def test_the_predictor_loads_without_the_runtime_until_a_session_is_made() -> None:
    script = "import serve.predictor, sys; print('onnxruntime' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("package", ["serve", "export", "pipeline"])
def test_importing_changes_neither_environment_nor_logging_nor_output(package: str) -> None:
    script = (
        "import importlib, logging, os, sys\n"
        "before = dict(os.environ), list(logging.getLogger().handlers)\n"
        f"for name in {[name for name in modules(package) if '.' not in name or package == 'serve']!r}:\n"
        "    importlib.import_module(name)\n"
        "assert (dict(os.environ), list(logging.getLogger().handlers)) == before\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
