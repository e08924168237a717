"""Adapters in ONNX Runtime's own format: the same answers, to the bit, by onnxruntime alone."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from tiny_bundle import SAMPLES
from tiny_swap import make_adapter, make_swap_bundle, tiny_head

from serve.adapters.adapter import LoadedAdapter, read_adapter
from serve.adapters.native import HEAD_FILE, SIGMA_FILE, write_native
from serve.bundle import Bundle
from serve.runtime import Runtime
from serve.swap import SwapSpec
from serve.tokenize import TextTokenizer

EXAMPLE = Path(__file__).parents[3] / "examples" / "native_adapter.py"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return Bundle.open(make_swap_bundle(tmp_path_factory.mktemp("native") / "bundle"))


def swap_of(bundle: Bundle) -> SwapSpec:
    assert bundle.manifest.swap is not None
    return bundle.manifest.swap


def written(bundle: Bundle, name: str, folder: Path) -> LoadedAdapter:
    """An adapter of the bundle, and beside its adapter.json the native files, in `folder`."""
    loaded = read_adapter(bundle.path / "adapters" / name, bundle.manifest)
    write_native(loaded, swap_of(bundle), folder)
    shutil.copy(bundle.path / "adapters" / name / "adapter.json", folder)
    return loaded


def run(model: Path, feeds: dict[str, Any], native: Path | None = None) -> list[NDArray[Any]]:
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, settings)
    options = onnxruntime.RunOptions()
    if native is not None:
        adapter = onnxruntime.LoraAdapter()
        adapter.Load(str(native))
        options.add_active_adapter(adapter)
    results: list[NDArray[Any]] = session.run(None, feeds, options)
    return results


def example(bundle: Path, adapter: Path, *texts: str) -> str:
    command = [sys.executable, str(EXAMPLE), str(bundle), str(adapter), *texts]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=adapter)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.removesuffix("\n")


def test_the_files_hold_sigma_and_the_heads_weights_exactly(bundle: Bundle, tmp_path: Path) -> None:
    loaded = written(bundle, "alpha", tmp_path)
    sigma = onnxruntime.AdapterFormat.read_adapter(str(tmp_path / SIGMA_FILE)).get_parameters()
    head = onnxruntime.AdapterFormat.read_adapter(str(tmp_path / HEAD_FILE)).get_parameters()
    assert {name: value.shape() for name, value in sigma.items()} == {"sigma": [1, swap_of(bundle).width]}
    assert np.array_equal(sigma["sigma"].numpy()[0], loaded.sigma)
    assert set(head) == {"classifier.weight", "classifier.bias"}
    for name, value in head.items():
        assert np.array_equal(value.numpy(), loaded.weights[name])


@pytest.mark.parametrize("name", ["alpha", "beta"])
def test_onnxruntimes_adapter_gives_to_the_bit_what_feeding_gives(bundle: Bundle, tmp_path: Path, name: str) -> None:
    loaded = written(bundle, name, tmp_path)
    feeds = TextTokenizer(bundle)(SAMPLES)
    backbone, head = bundle.file("model.onnx"), bundle.file("head.onnx")
    (fed,) = run(backbone, {**feeds, "sigma": loaded.reference})
    (native,) = run(backbone, feeds, tmp_path / SIGMA_FILE)
    assert np.array_equal(fed, native)
    assert not np.array_equal(native, run(backbone, feeds)[0])  # without an adapter it is the base model
    (fed,) = run(head, {"pooled": native, **loaded.weights})
    (native,) = run(head, {"pooled": native}, tmp_path / HEAD_FILE)
    assert np.array_equal(fed, native)


def test_the_same_adapter_gives_the_same_bytes_and_nothing_else_is_left(bundle: Bundle, tmp_path: Path) -> None:
    loaded = read_adapter(bundle.path / "adapters" / "alpha", bundle.manifest)
    first, second = tmp_path / "first", tmp_path / "second"
    write_native(loaded, swap_of(bundle), first)
    script = (
        "import sys; from pathlib import Path; from serve.bundle import Bundle\n"
        "from serve.adapters.adapter import read_adapter\n"
        "from serve.adapters.native import write_native; bundle = Bundle.open(sys.argv[1])\n"
        "loaded = read_adapter(bundle.path / 'adapters' / 'alpha', bundle.manifest)\n"
        "write_native(loaded, bundle.manifest.swap, Path(sys.argv[2]))\n"
    )
    subprocess.run([sys.executable, "-c", script, str(bundle.path), str(second)], check=True)
    for folder in (first, second):
        assert sorted(path.name for path in folder.iterdir()) == [HEAD_FILE, SIGMA_FILE]
    for name in (SIGMA_FILE, HEAD_FILE):
        assert (first / name).read_bytes() == (second / name).read_bytes()
        assert (first / name).stat().st_mode & 0o777 == 0o644


def test_files_that_are_there_are_replaced(bundle: Bundle, tmp_path: Path) -> None:
    written(bundle, "alpha", tmp_path)
    before = (tmp_path / SIGMA_FILE).read_bytes()
    written(bundle, "beta", tmp_path)
    assert (tmp_path / SIGMA_FILE).read_bytes() != before


def test_the_example_answers_as_the_runtime_does(bundle: Bundle, tmp_path: Path) -> None:
    texts = ("fan noisy", "the pump is leaking again " * 20)  # the second is longer than the adapter takes
    with Runtime(bundle) as runtime:
        labels = {name: [answer.label for answer in runtime.predict(texts, name)] for name in ("alpha", "beta")}
    assert labels["alpha"] != labels["beta"]
    for name, wanted in labels.items():
        written(bundle, name, tmp_path / name)
        assert [example(bundle.path, tmp_path / name, text) for text in texts] == wanted


def test_the_example_gives_the_value_of_a_regression_on_pairs(bundle: Bundle, tmp_path: Path) -> None:
    source = make_adapter(tmp_path / "score", 7, (), head=tiny_head(7, 1), texts=2)
    write_native(read_adapter(source, bundle.manifest), swap_of(bundle), source)
    with Runtime(bundle, state=tmp_path / "state") as runtime:
        runtime.add(source, "score")
        (answer,) = runtime.predict(("the pump", "fan noisy"), "score")
    assert answer.value is not None
    assert abs(float(example(bundle.path, source, "the pump", "fan noisy")) - answer.value) < 1e-6


def test_the_example_is_twenty_lines_and_uses_nothing_of_ours() -> None:
    text = EXAMPLE.read_text("utf-8")
    tree = ast.parse(text)
    imports = {
        (node.module or "" if isinstance(node, ast.ImportFrom) else alias.name).partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert imports == {"json", "sys", "pathlib", "numpy", "onnxruntime", "tokenizers"}
    code = [line for line in text.split('"""\n', 2)[-1].splitlines() if line.strip()]
    assert len(code) <= 20
