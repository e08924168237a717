from __future__ import annotations

import dataclasses
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tiny_bundle import make_bundle
from tiny_swap import KEPT, OUT, make_adapter, make_swap_bundle, tiny_delta, tiny_head

from serve.adapters.adapter import MAX_LABELS, read_adapter, read_files, tensors_limit
from serve.bundle import Bundle
from serve.errors import InputError
from serve.manifest import Manifest
from serve.swap import HeadSpec, HeadWeight

Edit = Callable[[dict[str, Any]], Any]


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return Bundle.open(make_swap_bundle(tmp_path_factory.mktemp("swap"))).manifest


def with_heads(manifest: Manifest, *heads: HeadSpec) -> Manifest:
    assert manifest.swap is not None
    return dataclasses.replace(manifest, swap=dataclasses.replace(manifest.swap, heads=heads))


def edited(folder: Path, edit: Edit) -> Path:
    path = folder / "adapter.json"
    document = json.loads(path.read_text())
    edit(document)
    path.write_text(json.dumps(document))
    return folder


@pytest.mark.parametrize("as_bytes", [True, False])
def test_values_are_laid_out_as_the_graphs_take_them(tmp_path: Path, manifest: Manifest, as_bytes: bool) -> None:
    folder = make_adapter(tmp_path / "x", 5, ["yes", "no"], texts=2)
    files = ((folder / "adapter.json").read_bytes(), (folder / "adapter.safetensors").read_bytes())
    loaded = read_adapter(files if as_bytes else folder, manifest)
    delta, head = tiny_delta(5), tiny_head(5, 2)
    np.testing.assert_array_equal(loaded.sigma, np.concatenate([delta["first"][list(KEPT)], delta["second"]]))
    assert loaded.reference.shape == (1, loaded.sigma.size)
    assert np.shares_memory(loaded.reference, loaded.sigma)
    assert (loaded.task, loaded.labels, loaded.head) == ("text-classification", ("yes", "no"), "default")
    assert (loaded.texts, loaded.max_length, loaded.dropped) == (2, 16, 0.0)
    assert loaded.weights.keys() == head.keys()
    for name, value in loaded.weights.items():
        np.testing.assert_array_equal(value, head[name])
        assert value.dtype == np.float32
        assert value.flags.c_contiguous


def test_arrays_are_its_own_and_can_not_be_written_to(tmp_path: Path, manifest: Manifest) -> None:
    loaded = read_adapter(make_adapter(tmp_path / "x"), manifest)
    for value in (loaded.sigma, loaded.reference, *loaded.weights.values()):
        assert not value.flags.writeable
    assert loaded.sigma.base is None  # the file's bytes don't stay in memory behind it
    assert all(value.base is None for value in loaded.weights.values())


def test_regression_has_one_value_and_no_labels(tmp_path: Path, manifest: Manifest) -> None:
    loaded = read_adapter(make_adapter(tmp_path / "x", 1, []), manifest)
    assert (loaded.task, loaded.labels) == ("text-regression", ())
    assert loaded.weights["classifier.weight"].shape == (1, OUT)


def test_what_the_card_leaves_out_is_the_bundles(tmp_path: Path, manifest: Manifest) -> None:
    loaded = read_adapter(make_adapter(tmp_path / "x", max_length=None, base=None), manifest)
    assert (loaded.texts, loaded.max_length) == (1, None)


def test_tells_the_share_that_the_graph_does_not_carry(tmp_path: Path, manifest: Manifest) -> None:
    delta = {"first": np.zeros(16, dtype=np.float32), "second": np.ones(16, dtype=np.float32)}
    delta["first"][[0, 1]] = 1, 2  # place 1 isn't kept: 4 of 5 of this layer, none of the other
    assert read_adapter(make_adapter(tmp_path / "x", delta=delta), manifest).dropped == pytest.approx(0.4)
    untrained = {name: np.zeros(16, dtype=np.float32) for name in delta}
    assert read_adapter(make_adapter(tmp_path / "y", delta=untrained), manifest).dropped == 0


def test_nbytes_is_about_what_python_takes(tmp_path: Path, manifest: Manifest) -> None:
    labels = [f"label number {place}" for place in range(200)]
    folder = make_adapter(tmp_path / "x", 1, labels, metrics={f"m{place}": place / 7 for place in range(100)})
    files = read_files(folder, manifest.swap, "x") if manifest.swap else (b"", b"")
    read_adapter(files, manifest)
    tracemalloc.start()
    loaded = read_adapter(files, manifest)
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert loaded.nbytes == pytest.approx(taken, rel=0.2)


def test_another_core_is_told_before_the_size_of_its_values(tmp_path: Path, manifest: Manifest) -> None:
    folder = edited(make_adapter(tmp_path / "x"), changed("core", to="dense"))
    assert manifest.swap is not None
    with (folder / "adapter.safetensors").open("ab") as file:
        file.truncate(tensors_limit(manifest.swap) + 1)
    with pytest.raises(InputError, match=r"adapter\.json\.core: dense; a swappable graph takes diagonal adapters only"):
        read_adapter(folder, manifest)
    edited(folder, changed("core", to="diagonal"))
    with pytest.raises(InputError, match=r"over the [0-9]+ that it may have"):
        read_adapter(folder, manifest)


def test_another_basis_is_refused_with_both_named(tmp_path: Path, manifest: Manifest) -> None:
    with pytest.raises(InputError) as caught:
        read_adapter(make_adapter(tmp_path / "x", basis_id="c" * 64), manifest, named="upload")
    assert "c" * 64 in str(caught.value)
    assert manifest.basis_id in str(caught.value)


def changed(*keys: str, to: Any) -> Edit:
    def edit(document: dict[str, Any]) -> None:
        for key in keys[:-1]:
            document = document[key]
        document[keys[-1]] = to

    return edit


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (changed("format", to="zip"), "format"),
        (changed("format_version", to=2), "adapter format 2"),
        (changed("method", to="lora"), "method"),
        (changed("core", to="banded"), "core: banded; a swappable graph takes diagonal adapters only"),
        (changed("core", to="dense"), 'export.mode = "merged", or train with adapter.core = "diagonal"'),
        (changed("core", to="round"), "core: must be one of diagonal, banded, dense"),
        (changed("core", to=["dense"]), "core: must be one of"),
        (lambda document: document.pop("core"), "core: missing"),
        (changed("basis_id", to=7), "basis_id"),
        (lambda document: document.pop("basis_id"), "basis_id: missing"),
        (changed("card", to=[]), "card: must be an object"),
        (changed("card", "task", to="speech"), "card.task"),
        (changed("card", "task", to=["text-regression"]), "card.task"),
        (changed("card", "task", to="text-regression"), "card.labels: regression has no labels"),
        (changed("card", "labels", to=["one"]), "1 labels"),
        (changed("card", "labels", to=["a", "a", "b"]), "twice"),
        (changed("card", "labels", to=["a", "", "b"]), "none empty"),
        (changed("card", "labels", to="abc"), "card.labels"),
        (changed("card", "labels", to=["a", "b"]), "classifier.weight has shape (3, 32), not (2, 32)"),
        (changed("card", "labels", to=["a", "b", "\ud800"]), "not valid JSON"),
        (changed("card", "base", "sha256", to="9" * 64), "was trained on base 9999"),
        (changed("card", "max_length", to=0), "card.max_length"),
        (changed("card", "max_length", to=True), "card.max_length"),
        (changed("card", "texts", to=3), "card.texts"),
        (changed("card", "metrics", to=float("nan")), "NaN is no JSON"),
    ],
)
def test_a_card_that_does_not_fit_is_told_in_one_line(
    tmp_path: Path, manifest: Manifest, edit: Edit, told: str
) -> None:
    folder = edited(make_adapter(tmp_path / "x"), edit)
    with pytest.raises(InputError) as caught:
        read_adapter(folder, manifest, named="upload")
    assert told in str(caught.value)
    assert str(caught.value).startswith("upload: adapter.")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b"[]", b"[" * 100_000, b'{"card": 1e999}', b"5"])
def test_a_document_that_is_no_json_object_is_refused(manifest: Manifest, text: bytes) -> None:
    with pytest.raises(InputError, match=r"upload: adapter\.json"):
        read_adapter((text, b""), manifest, named="upload")


def tensors_edited(folder: Path, edit: Edit) -> Path:
    tensors = dict(load_file(folder / "adapter.safetensors"))
    edit(tensors)
    save_file(tensors, folder / "adapter.safetensors")
    return folder


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (lambda tensors: tensors.pop("delta.first"), "deltas are not of this bundle's layers: first is missing"),
        (lambda tensors: tensors.pop("sigma.second"), "sigmas are not of this bundle's layers: second is missing"),
        (changed("delta.third", to=np.zeros(16, np.float32)), "'third' is not among them"),
        (changed("delta.first", to=np.zeros(15, np.float32)), "first has shape (15,), not (16,)"),
        (changed("delta.first", to=np.zeros((16, 1), np.float32)), "first has shape (16, 1), not (16,)"),
        (changed("delta.first", to=np.full(16, np.nan, np.float32)), "'delta.first' holds NaN"),
        (changed("delta.first", to=np.zeros(16, np.float64)), "float32"),
        (changed("other.x", to=np.zeros(1, np.float32)), "unknown tensor 'other.x'"),
        (changed("module.norm.weight", to=np.zeros(1, np.float32)), "'norm.weight' is not among them"),
        (lambda tensors: tensors.pop("module.classifier.bias"), "classifier.bias is missing"),
        (changed("module.classifier.bias", to=np.zeros(4, np.float32)), "classifier.bias has shape (4,), not (3,)"),
    ],
)
def test_tensors_that_do_not_fit_are_told_in_one_line(
    tmp_path: Path, manifest: Manifest, edit: Edit, told: str
) -> None:
    folder = tensors_edited(make_adapter(tmp_path / "x"), edit)
    with pytest.raises(InputError) as caught:
        read_adapter(folder, manifest)
    assert told in str(caught.value)
    assert str(caught.value).startswith(f"adapter {folder}: ")


def test_the_limit_is_what_layers_and_head_can_need(tmp_path: Path, manifest: Manifest) -> None:
    assert manifest.swap is not None
    several, few = tensors_limit(manifest.swap), tensors_limit(manifest.swap, 3)
    assert several - few == 4 * (MAX_LABELS - 3) * (OUT + 1)
    folder = make_adapter(tmp_path / "x")
    path = folder / "adapter.safetensors"
    with path.open("r+b") as handle:
        handle.truncate(few + 1)  # any adapter's limit allows it, that of three labels doesn't
    with pytest.raises(InputError, match=rf"adapter\.safetensors: {few + 1} bytes, over the {few}"):
        read_adapter(folder, manifest)
    with path.open("r+b") as handle:
        handle.truncate(2**40)
    with pytest.raises(InputError, match=f"over the {several}"):
        read_adapter(folder, manifest)


def test_a_folder_without_the_files_is_told(tmp_path: Path, manifest: Manifest) -> None:
    with pytest.raises(InputError, match="no such folder"):
        read_adapter(tmp_path / "none", manifest)
    with pytest.raises(InputError, match=r"adapter\.json: can't be read"):
        read_adapter(tmp_path, manifest)


def test_a_merged_bundle_takes_no_adapters(tmp_path: Path) -> None:
    merged = Bundle.open(make_bundle(tmp_path / "merged")).manifest
    with pytest.raises(InputError, match=r'export\.mode = "swappable"'):
        read_adapter(make_adapter(tmp_path / "x"), merged)


def test_the_head_is_the_one_whose_weights_the_adapter_has(tmp_path: Path, manifest: Manifest) -> None:
    assert manifest.swap is not None
    (linear,) = manifest.swap.heads
    pooler = dataclasses.replace(linear, name="pooler", weights=(*linear.weights, HeadWeight("pooler.bias", (OUT,))))
    two = with_heads(manifest, pooler, linear)
    assert read_adapter(make_adapter(tmp_path / "x"), two).head == "default"
    head = {**tiny_head(1, 3), "pooler.bias": np.zeros(OUT, dtype=np.float32)}
    assert read_adapter(make_adapter(tmp_path / "y", head=head), two).head == "pooler"


def test_of_heads_with_the_same_weights_the_card_names_one(tmp_path: Path, manifest: Manifest) -> None:
    assert manifest.swap is not None
    (linear,) = manifest.swap.heads
    two = with_heads(manifest, linear, dataclasses.replace(linear, name="first-token"))
    with pytest.raises(InputError, match=r"several heads take its modules \(default, first-token\)"):
        read_adapter(make_adapter(tmp_path / "x"), two)
    named = edited(make_adapter(tmp_path / "y"), changed("card", "head", to="first-token"))
    assert read_adapter(named, two).head == "first-token"
