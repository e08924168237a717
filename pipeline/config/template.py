"""Write a commented configuration with every default visible, from the schema itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .schema import SECTIONS, choices_of


def template(name: str, values: Mapping[str, Any] | None = None) -> str:
    """The text of NAME.toml. `values` ("data.train": "a.csv") take the place of defaults.

    A key whose default is none stands commented out, with an example for its value.
    """
    values = values or {}
    lines = [f"# {name}: made by `svfit init`. Run it with: svfit run {name}.toml", ""]
    for section, model in SECTIONS.items():
        rows: list[tuple[str, str]] = []
        for key, field in model.model_fields.items():
            value = values.get(f"{section}.{key}", None if field.is_required() else field.default)
            if value is None:
                value = (field.examples or [""])[0]
                lead = "" if field.is_required() else "# "
            else:
                lead = ""
            choices = choices_of(field)
            listed = f" ({', '.join(choices)})" if len(choices) > 1 else ""
            rows.append((f"{lead}{key} = {toml_value(value)}", f"{field.description}{listed}"))
        width = min(40, max(len(setting) for setting, _ in rows))
        lines += [f"# {model.__doc__}", f"[{section}]"]
        lines += [f"{setting:<{width}}  # {description}" for setting, description in rows]
        lines.append("")
    return "\n".join(lines)


def toml_value(value: Any) -> str:
    """A string, number, boolean or flat list as TOML."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    return json.dumps(value)
