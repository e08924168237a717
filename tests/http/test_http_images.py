"""Images over HTTP: base64 in JSON, files in a form, tensors of the Open Inference Protocol; limits before decoding."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from http_desk import Desk
from image_bundle import SPEC, make_image_bundle
from image_files import saved
from PIL import Image
from tiny_images import LABELS, picture

from serve.bundle import Bundle
from serve.config import ServeConfig
from serve.errors import InputError
from serve.http import loading
from serve.images.pixels import load_pixels
from serve.runtime import Runtime
from serve.samples import read_samples
from serve.verify import verify

PICTURES = {label: picture(label, 7) for label in LABELS}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_image_bundle(tmp_path_factory.mktemp("images") / "colours")


@pytest.fixture(scope="module")
def desk(bundle: Path) -> Iterator[Desk]:
    made = Desk(bundle, max_pixels=2000)
    yield made
    made.close()


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def labels(response: Any) -> list[str]:
    assert response.status_code == 200, response.text
    return [row["label"] for row in response.json()["results"]]


def test_the_bundle_carries_pictures_to_check_itself_by(bundle: Path) -> None:
    assert verify(bundle).passed
    opened = Bundle.open(bundle)
    assert opened.manifest.input == SPEC
    assert not (bundle / "tokenizer.json").exists()
    assert [load_pixels(row, SPEC, "it").shape for row in read_samples(opened).rows] == [SPEC.shape] * 9  # type: ignore[arg-type]


def test_the_library_answers_files_and_tensors_alike(bundle: Path) -> None:
    pixels = load_pixels(PICTURES["green"], SPEC, "it")
    with Runtime(bundle) as runtime:
        (of_file,), (of_tensor,) = runtime.predict(PICTURES["green"]), runtime.predict(pixels)
        assert of_file == of_tensor
        assert of_file.label == "green"
        assert [answer.label for answer in runtime.predict([*PICTURES.values(), pixels])] == [*LABELS, "green"]
        with pytest.raises(InputError, match=r"row 2: this bundle takes images \(got text\)"):
            runtime.predict([pixels, "a text"])


@pytest.mark.parametrize("before", ["", "data:image/png;base64,"])
def test_base64_in_json(desk: Desk, before: str) -> None:
    assert labels(desk.client.post("/v1/predict", json={"image": before + encoded(PICTURES["blue"])})) == ["blue"]
    every = [before + encoded(data) for data in PICTURES.values()]
    response = desk.client.post("/v1/predict", json={"image": every, "top": 1})
    assert labels(response) == list(LABELS)
    assert [len(row["probabilities"]) for row in response.json()["results"]] == [1, 1, 1]


def test_files_in_a_form(desk: Desk) -> None:
    files = [("image", (f"{label}.png", data, "image/png")) for label, data in PICTURES.items()]
    response = desk.client.post("/v1/predict", files=files, data={"top": "2", "probabilities": "true"})
    assert labels(response) == list(LABELS)
    assert len(response.json()["results"][0]["probabilities"]) == 2
    without = desk.client.post("/v1/predict", files=files, data={"probabilities": "false"})
    assert "probabilities" not in without.json()["results"][0]


@pytest.mark.parametrize("binary", [False, True])
def test_a_tensor_of_the_open_inference_protocol(desk: Desk, binary: bool) -> None:
    pixels = np.stack([load_pixels(data, SPEC, "it") for data in PICTURES.values()])
    tensor: dict[str, Any] = {"name": "pixel_values", "datatype": "FP32", "shape": list(pixels.shape)}
    raw = pixels.astype("<f4").tobytes()
    if binary:
        head = json.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": len(raw)}}]}).encode()
        headers = {"Inference-Header-Content-Length": str(len(head))}
        response = desk.client.post("/v2/models/colours/infer", content=head + raw, headers=headers)
    else:
        body = {"inputs": [{**tensor, "data": pixels.ravel().tolist()}]}
        response = desk.client.post("/v2/models/colours/infer", json=body)
    assert response.status_code == 200, response.text
    outputs = {output["name"]: output for output in response.json()["outputs"]}
    assert outputs["label"]["data"] == list(LABELS)
    assert outputs["probabilities"]["shape"] == [3, 3]


def test_the_protocol_describes_the_tensor(desk: Desk) -> None:
    found = desk.client.get("/v2/models/colours").json()
    assert found["inputs"][0] == {"name": "pixel_values", "datatype": "FP32", "shape": [-1, 3, 8, 8]}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"shape": [1, 3, 8, 4]}, "elements for the shape"),
        ({"shape": [192]}, "of shape [n, channels, height, width]"),
        ({"name": "text"}, 'input "text": not known'),
        ({"datatype": "BYTES", "shape": [1], "data": ["a"]}, 'must be an FP32 tensor "pixel_values"'),
        ({"data": ["a"] * 192}, "must be numbers"),
        ({"data": [1e39] * 192}, "too large for FP32"),
        ({"shape": [1, 3, 4, 16]}, "must be float32 3×8×8"),
    ],
)
def test_a_tensor_that_does_not_fit_is_refused(desk: Desk, change: dict[str, Any], told: str) -> None:
    tensor = {"name": "pixel_values", "datatype": "FP32", "shape": [1, 3, 8, 8], "data": [0.5] * 192, **change}
    response = desk.client.post("/v2/models/colours/infer", json={"inputs": [tensor]})
    assert response.status_code == 400
    assert told in response.json()["error"]


def test_an_image_over_the_limit_is_refused_before_it_is_decoded(desk: Desk) -> None:
    large = saved(Image.new("RGB", (50, 41)))
    response = desk.client.post("/v1/predict", json={"image": encoded(large)})
    assert response.status_code == 413
    assert "2,050 pixels; a request's images may have 2,000" in response.text
    several = [("image", ("x.png", picture("red", 1), "image/png"))] * 5  # 480 pixels each
    assert desk.client.post("/v1/predict", files=several).status_code == 413


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"image": "no base64!"}, "image: row 1: not valid base64"),
        ({"image": [encoded(b"no image")]}, "row 1: not an image"),
        ({"image": encoded(PICTURES["red"][:200])}, "row 1: a broken or truncated PNG image"),
        ({"image": ""}, "row 1: empty, not an image"),
        ({"image": [3]}, "image: must be an image's file in base64"),
        ({"text": "red"}, "takes images (got text)"),
        ({"text": "red", "image": "x"}, "text, image: give one of them"),
        ({}, "text, image: give one of them"),
    ],
)
def test_what_is_no_image_is_refused(desk: Desk, body: dict[str, Any], told: str) -> None:
    response = desk.client.post("/v1/predict", json=body)
    assert response.status_code == 422
    assert told in response.json()["error"]


@pytest.mark.parametrize(
    ("files", "data", "told"),
    [
        ([("photo", ("x.png", b"x"))], {}, "unknown part 'photo'"),
        ([("adapter", ("x.png", b"x"))], {}, "no file, or there twice: part 'adapter'"),
        ([("image", ("x.png", b""))], {"top": "0"}, "top"),
        ([("other", (None, "x"))], {}, "unknown part 'other'"),
        ([("top", (None, "1"))], {}, "the form holds no image"),
    ],
)
def test_a_form_that_makes_no_sense_is_refused(desk: Desk, files: Any, data: Any, told: str) -> None:
    response = desk.client.post("/v1/predict", files=files, data=data)
    assert response.status_code == 422
    assert told in response.json()["error"]


def test_images_are_no_characters(bundle: Path) -> None:
    desk = Desk(bundle, max_characters=10)
    try:
        assert labels(desk.client.post("/v1/predict", json={"image": encoded(PICTURES["red"])})) == ["red"]
    finally:
        desk.close()


def test_a_server_that_cannot_read_image_files_says_so_when_it_loads(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def start() -> str:
        caplog.clear()
        runtime, scheduler = loading.load(Bundle.open(bundle), None, ServeConfig(), None)
        scheduler.close()
        runtime.close()
        return caplog.text

    assert "Pillow" not in start()
    monkeypatch.setattr(loading, "find_spec", lambda _: None)
    assert "image files are refused" in start()
    assert "svfit[image]" in start()
