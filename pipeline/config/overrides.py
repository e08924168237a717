"""`--set section.key=value`: a value is read as TOML, or else taken as text."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from typing import Any

from .problems import closest, unknown_key, unknown_section
from .schema import SECTIONS


def parse(overrides: Sequence[str]) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Values by section and key (a later one wins), and a line for each override that can't be."""
    values: dict[str, dict[str, Any]] = {}
    lines: list[str] = []
    for text in overrides:
        key, equals, value = text.partition("=")
        section, dot, name = key.strip().partition(".")
        if not equals:
            lines.append(f"--set {text}: must be KEY=VALUE, such as train.epochs=5")
        elif section not in SECTIONS:
            dotted = [f"{part}.{field}" for part, model in SECTIONS.items() for field in model.model_fields]
            hint = closest(key.strip(), dotted) if dot else ""
            lines.append(f"--set {key}: unknown key{hint}" if hint else f"--set {key}: {unknown_section(section)}")
        elif name not in SECTIONS[section].model_fields:
            lines.append(f"--set {key}: {unknown_key(section, name)}")
        else:
            values.setdefault(section, {})[name] = read_value(value.strip())
    return values, lines


def read_value(text: str) -> Any:
    """A TOML value, or the text itself where it is none."""
    try:
        document = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return document["value"] if list(document) == ["value"] else text
