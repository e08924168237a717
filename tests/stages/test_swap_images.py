"""Images on a shared backbone: a transformer's layers can be swapped, convolutions are refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_images import save_vision, write_image_task
from tiny_task import svfit

from serve.runtime import Runtime
from serve.verify import verify

SWAPPABLE = ("--set", "export.mode=swappable", "--set", "export.swap_budget=10")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SVFIT_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_a_transformer_s_bundle_verifies_and_answers(folder: Path) -> None:
    config = write_image_task(folder, save_vision(folder / "vit", "vit"))
    result = svfit("run", config, "--output", folder / "run", *SWAPPABLE, "--debug")
    assert result.exit_code == 0, result.stderr
    assert verify(folder / "run" / "bundle").passed
    pictures = sorted(folder.rglob("test/*/*.png"))
    with Runtime(folder / "run" / "bundle") as runtime:
        answers = runtime.predict([picture.read_bytes() for picture in pictures])
    right = [answer.label == picture.parent.name for answer, picture in zip(answers, pictures, strict=True)]
    assert sum(right) >= 0.9 * len(right)


def test_convolutions_are_refused_by_name(folder: Path) -> None:
    config = write_image_task(folder, save_vision(folder / "resnet", "resnet"), "all")
    result = svfit("run", config, "--output", folder / "run", *SWAPPABLE)
    assert result.exit_code != 0
    assert "no product for layer resnet.embedder.embedder.convolution" in result.stderr
    assert "export merged" in result.stderr
