"""Weights outside the model file come from the bundle or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from tiny_bundle import make_bundle, reseal

from serve.errors import InputError
from serve.predictor import Predictor


def externalize(model_path: Path, location: str) -> bytes:
    """Move the matrix of a tiny model out to `location`; returns its bytes, which the caller places."""
    model = onnx.load(str(model_path))
    (tensor,) = (one for one in model.graph.initializer if one.name == "matrix")
    data = bytes(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location
    model_path.write_bytes(model.SerializeToString())
    return data


def test_external_data_that_is_listed_is_loaded_and_guarded(tmp_path: Path) -> None:
    path = make_bundle(tmp_path / "bundle")
    before = Predictor(path).logits(["the pump"])
    (path / "model.onnx.data").write_bytes(externalize(path / "model.onnx", "model.onnx.data"))
    reseal(path)
    np.testing.assert_array_equal(Predictor(path).logits(["the pump"]), before)
    (path / "model.onnx.data").write_bytes(b"\x01" + (path / "model.onnx.data").read_bytes()[1:])
    with pytest.raises(InputError, match=r"model\.onnx\.data was changed"):
        Predictor(path)


@pytest.mark.parametrize("kind", ["above", "absolute"])
def test_external_data_outside_the_bundle_is_never_read(tmp_path: Path, kind: str) -> None:
    path = make_bundle(tmp_path / "bundle")
    secret = tmp_path / "secret"
    secret.write_bytes(externalize(path / "model.onnx", "../secret" if kind == "above" else str(secret)))
    reseal(path)
    with pytest.raises(InputError, match="can't load it"):
        Predictor(path)
