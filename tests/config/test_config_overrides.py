"""`--set section.key=value`."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config import load
from serve.errors import UsageError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "task.toml"
    path.write_text('[model]\nbase = "pypi:x"\n[data]\ntrain = "train.csv"\n[train]\nepochs = 2\n')
    return path


def refused(path: Path, *overrides: str) -> list[str]:
    with pytest.raises(UsageError) as caught:
        load(path, overrides)
    return str(caught.value).splitlines()


def test_an_override_beats_the_file_and_a_later_one_an_earlier(path: Path) -> None:
    assert load(path, ["train.epochs=5"]).train.epochs == 5
    assert load(path, ["train.epochs=5", "train.epochs=7"]).train.epochs == 7


def test_values_are_toml_and_else_text(path: Path) -> None:
    config = load(
        path,
        [
            "train.learning_rate=1e-3",
            "train.class_weights=true",
            "train.schedule=cosine",
            'data.text=["a", "b"]',
            'adapter.rank={"*.query" = 8}',
            "data.label=a=b",
        ],
    )
    assert config.train.learning_rate == 1e-3
    assert config.train.class_weights is True
    assert config.train.schedule == "cosine"
    assert config.data.text == ["a", "b"]
    assert config.adapter.rank == {"*.query": 8}
    assert config.data.label == "a=b"


def test_a_value_can_not_smuggle_another_key_in(path: Path) -> None:
    text = "1\nother = 2"
    assert load(path, [f"data.label={text}"]).data.label == text


def test_a_required_key_can_come_from_an_override(tmp_path: Path) -> None:
    path = tmp_path / "task.toml"
    path.write_text('[data]\ntrain = "train.csv"\n')
    assert load(path, ["model.base=pypi:x"]).model.base == "pypi:x"


def test_unknown_keys_say_what_was_meant(path: Path) -> None:
    lines = refused(path, "train.epoch=5", "trian.epochs=5", "epochs=5", "epochs")
    assert lines[0].startswith('--set train.epoch: unknown key; did you mean "epochs"? available: epochs, seed')
    assert lines[1] == '--set trian.epochs: unknown key; did you mean "train.epochs"?'
    assert lines[2].startswith('--set epochs: unknown section; did you mean "train.epochs"?')
    assert lines[3] == "--set epochs: must be KEY=VALUE, such as train.epochs=5"


def test_a_wrong_override_names_itself_and_not_the_file(path: Path) -> None:
    assert refused(path, "train.epochs=-1", "train.device=gpu") == [
        "--set train.epochs: must be ≥ 0 (got -1)",
        '--set train.device: must be one of "auto", "cpu", "cuda", "mps" (got "gpu")',
    ]


def test_a_file_that_an_override_names_is_missed_under_the_overrides_name(path: Path) -> None:
    (path.parent / "train.csv").touch()
    with pytest.raises(UsageError) as caught:
        load(path, ["data.test=gone.csv"], require_files=True)
    assert str(caught.value).startswith("--set data.test: no such file: ")
