"""The manifest is read strictly and written as it was read."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from tiny_bundle import make_bundle

from serve.errors import InputError
from serve.manifest import Manifest


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = make_bundle(tmp_path_factory.mktemp("manifest") / "bundle")
    value: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return value


def changed(value: dict[str, Any], place: str, new: Any) -> dict[str, Any]:
    """A copy with the value at a dotted place replaced, or left out for `...`."""
    copied = copy.deepcopy(value)
    *path, last = place.split(".")
    inner: Any = copied
    for key in path:
        inner = inner[int(key)] if key.isdigit() else inner[key]
    if new is ...:
        del inner[last]
    else:
        inner[last] = new
    return copied


def test_what_is_read_is_what_is_written(written: dict[str, Any]) -> None:
    assert Manifest.from_dict(written).to_dict() == written


@pytest.mark.parametrize(
    ("place", "new", "told"),
    [
        ("format", "zip", "not a bundle of svfit"),
        ("format_version", "1", "must be a whole number"),
        ("format_version", True, "must be a whole number"),
        ("format_version", 0, "at least 1"),
        ("name", 3, r"manifest\.json\.name: must be a string \(got 3\)"),
        ("name", ..., r"manifest\.json\.name: missing"),
        ("task", "image", "must be one of text-classification, text-regression"),
        ("labels", "hvac", "must be a list"),
        ("labels", ["a", "a", "b"], "must not name anything twice"),
        ("labels", ["a", "b"], "2 labels for an output 3 wide"),
        ("labels", ["a", 1, "b"], "a list of strings"),
        ("input.text", 3, r"input\.text: must be 1"),
        ("input.names", ["attention_mask"], "must hold input_ids"),
        ("input.names", ["input_ids", "pixels"], "must hold input_ids and nothing but"),
        ("input.max_length", 0, "at least 1"),
        ("input.padding_side", "both", "must be one of left, right"),
        ("input.pad_idd", 0, "did you mean pad_id"),
        ("output.shape", [1, 3], r'must be \["batch", width\]'),
        ("output.shape", ["batch", True], r'must be \["batch", width\]'),
        ("base.sha256", "abc", "64 lower-case hex digits"),
        ("adapter", [], "must be an object"),
        ("variants", [], "at least one variant"),
        ("variants.0.default", 1, r"variants\[0\]\.default: must be true or false"),
        ("variants.0.bytes", -1, "at least 0"),
        ("variants.0.speed", 1, r"variants\[0\]\.speed: unknown key"),
        ("default_variant", "int8", "must be the one variant marked default"),
        ("measured_on.isa", "avx2", "must be a list"),
        ("created.at", "", "must not be empty"),
        ("files", {"x": {"bytes": 1}}, "sha256: missing"),
    ],
)
def test_a_wrong_value_is_told_with_its_place(written: dict[str, Any], place: str, new: Any, told: str) -> None:
    with pytest.raises(InputError, match=told) as caught:
        Manifest.from_dict(changed(written, place, new))
    assert "\n" not in str(caught.value)


def test_an_unknown_variant_lists_those_there_are(written: dict[str, Any]) -> None:
    manifest = Manifest.from_dict(written)
    assert manifest.variant().name == "fp32"
    with pytest.raises(InputError, match="no variant 'int4'; it has: fp32, int8"):
        manifest.variant("int4")


def test_regression_takes_no_labels_and_one_output(written: dict[str, Any]) -> None:
    value = changed(written, "task", "text-regression")
    with pytest.raises(InputError, match="regression has no labels"):
        Manifest.from_dict(value)
    good = changed(changed(value, "labels", []), "output.shape", ["batch", 1])
    assert Manifest.from_dict(good).labels == ()
