"""Pixels from a client that we did not write, tritonclient, over HTTP and gRPC."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt
import pytest
import tritonclient.grpc
import tritonclient.http
from image_bundle import SPEC, make_image_bundle
from server_process import Address, serving
from tiny_images import LABELS, picture
from tritonclient.utils import InferenceServerException

from serve.images.pixels import load_pixels
from serve.predictor import Predictor


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_image_bundle(tmp_path_factory.mktemp("pictures") / "colours")


@pytest.fixture(scope="module")
def server(bundle: Path) -> Iterator[Address]:
    with serving(bundle, "--grpc-port", "0") as address:
        yield address


def asked(module: ModuleType, url: str, pixels: npt.NDArray[np.float32]) -> tuple[list[str], npt.NDArray[np.float32]]:
    """The labels and probabilities that a client gets for pixels."""
    tensor = module.InferInput("pixel_values", list(pixels.shape), "FP32")
    with module.InferenceServerClient(url) as client:
        answer = client.infer("colours", [tensor.set_data_from_numpy(pixels)])
    return [label.decode() for label in answer.as_numpy("label")], answer.as_numpy("probabilities")


@pytest.mark.parametrize("module", [tritonclient.http, tritonclient.grpc], ids=["http", "grpc"])
def test_pixels_are_answered_as_the_library_answers_pictures(server: Address, bundle: Path, module: ModuleType) -> None:
    pictures = [picture(label, 7) for label in LABELS]
    url = server.grpc if module is tritonclient.grpc else server.http
    pixels = np.stack([load_pixels(data, SPEC, "it") for data in pictures])
    labels, probabilities = asked(module, url, pixels)
    own = Predictor(bundle).predict(pictures)
    assert labels == [row.label for row in own] == list(LABELS)
    np.testing.assert_allclose(probabilities.max(axis=1), [row.score for row in own], atol=1e-5)
    with pytest.raises(InferenceServerException, match="float32 3×8×8"):
        asked(module, url, pixels[:, :, :4])
