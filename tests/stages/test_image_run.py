"""`svfit run` from a folder of pictures to a bundle that answers, on an image model of a few thousand weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_images import LABELS, picture, save_vision, write_image_task
from tiny_task import Finished, svfit

from export.adapter import Adapter
from pipeline.config import load
from pipeline.tasks import task_of
from serve.bundle import Bundle
from serve.encoder import open_encoder
from serve.images.spec import ImageSpec
from serve.predictor import Predictor
from serve.verify import verify


def document(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


@pytest.fixture(scope="module")
def pictured(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A ViT's run, once for all tests that only look at what it left."""
    folder = tmp_path_factory.mktemp("pictured")
    config = write_image_task(folder, save_vision(folder / "base"))
    result = svfit("run", config, "--output", folder / "run", "--debug")
    assert result.exit_code == 0, result.stderr
    return Finished(config, folder / "run", result.stdout, result.stderr)


def test_it_learns_and_every_gate_holds(pictured: Finished) -> None:
    report = document(pictured.folder / "report.json")
    assert report["metrics"]["test"]["accuracy"] >= 0.9
    assert [gate["name"] for gate in report["gates"]] == ["merge", "parity", "int8 accuracy"]
    assert all(gate["passed"] for gate in report["gates"])
    assert report["data"]["splits"]["train"]["pixels"]["width"] == {"min": 24, "median": 24, "max": 24}


def test_the_page_shows_pictures_with_their_answers(pictured: Finished) -> None:
    page = (pictured.folder / "report.html").read_text("utf-8")
    assert page.count("data:image/png;base64,") >= 3
    assert all(label in page for label in LABELS)


def test_the_bundle_needs_no_tokenizer_and_answers_as_it_did(pictured: Finished) -> None:
    folder = pictured.folder / "bundle"
    bundle = Bundle.open(folder)
    assert bundle.manifest.task == "image-classification"
    assert isinstance(bundle.manifest.input, ImageSpec)
    assert "tokenizer.json" not in bundle.manifest.files
    assert verify(folder).passed
    answers = Predictor(folder).predict([picture(label, 99) for label in LABELS])
    assert [answer.label for answer in answers] == list(LABELS)


def test_the_device_sees_what_the_training_saw(pictured: Finished) -> None:
    config = load(pictured.config)
    task = task_of("image-classification")
    loaded = task.merged(pictured.folder / "merged")
    dataset = task.read(config.data, 0)
    rows = task.rows(loaded, dataset.validation, 0)
    encoder = open_encoder(Bundle.open(pictured.folder / "bundle"))
    for place, row in enumerate(task.served(dataset.validation)):
        assert np.array_equal(encoder.encode(row), rows[place]["pixel_values"])
    varied = task.rows(loaded, dataset.train, 0, training=True)
    assert not np.array_equal(varied[0]["pixel_values"], varied[0]["pixel_values"])
    assert np.array_equal(rows[0]["pixel_values"], rows[0]["pixel_values"])


def test_predict_takes_files_folders_and_tables(pictured: Finished, tmp_path: Path) -> None:
    bundle, folder = pictured.folder / "bundle", pictured.config.parent / "pictures" / "test"
    found = svfit("predict", bundle, folder / "red", folder / "blue" / "000.png", "--json", "--quiet")
    assert found.exit_code == 0, found.stderr
    answers = json.loads(found.stdout)["predictions"]
    assert [answer["label"] for answer in answers] == ["red"] * 4 + ["blue"]
    assert answers[4]["image"] == str(folder / "blue" / "000.png")
    (tmp_path / "x.png").write_bytes(picture("green", 3))
    (tmp_path / "list.csv").write_text("path\nx.png\n")
    table = svfit("predict", bundle, "--file", tmp_path / "list.csv", "--format", "csv", "--quiet")
    assert table.exit_code == 0, table.stderr
    assert table.stdout.splitlines()[0] == "row,image,label,score"
    assert ",green," in table.stdout.splitlines()[1]
    shown = svfit("predict", bundle, folder / "red", "--format", "table", "--quiet")
    assert shown.stdout.split()[:2] == ["image", "label"]
    broken = svfit("predict", bundle, tmp_path / "list.csv", "--quiet")
    assert broken.exit_code != 0
    assert "not an image" in broken.stderr


def test_a_convolutional_network_is_adapted_by_its_convolutions(tmp_path: Path) -> None:
    config = write_image_task(tmp_path, save_vision(tmp_path / "base", "resnet"), "all")
    result = svfit("run", config, "--output", tmp_path / "run", "--debug")
    assert result.exit_code == 0, result.stderr
    adapter = Adapter.load(tmp_path / "run" / "adapter")
    assert adapter.basis.layers["resnet.embedder.embedder.convolution"].shape == (8, 3 * 7 * 7)
    assert verify(tmp_path / "run" / "bundle").passed
    assert document(tmp_path / "run" / "report.json")["metrics"]["test"]["accuracy"] >= 0.6
    quantized = document(tmp_path / "run" / "quantize" / "quantize.json")
    assert [row["name"] for row in quantized["variants"]] == ["fp32", "int8-static"]


def test_the_default_targets_of_a_convolutional_network_tell_what_to_do(tmp_path: Path) -> None:
    config = write_image_task(tmp_path, save_vision(tmp_path / "base", "resnet"))
    result = svfit("finetune", config, "--output", tmp_path / "run")
    assert result.exit_code != 0
    assert 'try adapter.targets = "all"' in result.stderr
