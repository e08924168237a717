"""Turn what validation found into lines a person can act on."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError

from .schema import SECTIONS, choices_of


def shown(value: Any) -> str:
    """A value as it would stand in the file, cut at 80 characters."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except TypeError:
        text = str(value)
    return text if len(text) <= 80 else text[:79] + "…"


def closest(word: str, candidates: Iterable[str], cutoff: float = 0.6) -> str:
    """`; did you mean "…"?` for the nearest candidate, or nothing."""
    near = difflib.get_close_matches(word, list(candidates), n=1, cutoff=cutoff)
    return f'; did you mean "{near[0]}"?' if near else ""


def unknown_section(word: str) -> str:
    """What to say about a top-level key that is no section."""
    hint = closest(word, SECTIONS) or _elsewhere(word)
    return f"unknown section{hint or ';'} available: {', '.join(SECTIONS)}"


def unknown_key(section: str, word: str) -> str:
    """What to say about a key that its section doesn't have."""
    fields = SECTIONS[section].model_fields
    exact = _elsewhere(word)
    hint = exact or closest(word, fields)
    return f"unknown key{hint or ';'} available: {', '.join(fields)}"


def _elsewhere(word: str) -> str:
    homes = [f"{name}.{word}" for name, model in SECTIONS.items() if word in model.model_fields]
    return f'; did you mean "{homes[0]}"?' if homes else ""


def problems(section: str, error: ValidationError) -> list[tuple[str, str]]:
    """Each error of a section as (key, what is wrong)."""
    return [
        (f"{section}.{'.'.join(str(part) for part in item['loc'])}", _describe(section, item))
        for item in error.errors(include_url=False)
    ]


def _describe(section: str, item: Any) -> str:
    kind, value, context = item["type"], item["input"], item.get("ctx", {})
    key = str(item["loc"][0]) if item["loc"] else ""
    if kind == "missing":
        description = SECTIONS[section].model_fields[key].description
        return f"is required: {description}"
    if kind == "extra_forbidden":
        return unknown_key(section, key)
    if kind == "literal_error":
        choices = choices_of(SECTIONS[section].model_fields[key])
        listed = ", ".join(f'"{choice}"' for choice in choices)
        hint = closest(value, choices, 0.75) if isinstance(value, str) else ""
        return f"must be one of {listed} (got {shown(value)}){hint}"
    if kind == "value_error":
        return f"{context['error']} (got {shown(value)})"
    return f"{_rule(kind, context, item['msg'])} (got {shown(value)})"


def _rule(kind: str, context: dict[str, Any], message: str) -> str:
    bounds = {"greater_than": ">", "greater_than_equal": "≥", "less_than": "<", "less_than_equal": "≤"}
    limits = {"greater_than": "gt", "greater_than_equal": "ge", "less_than": "lt", "less_than_equal": "le"}
    if kind in bounds:
        return f"must be {bounds[kind]} {context[limits[kind]]:g}"
    types = {
        "int_type": "a whole number",
        "int_from_float": "a whole number",
        "float_type": "a number",
        "finite_number": "a finite number",
        "bool_type": "true or false",
        "string_type": "text in quotes",
        "string_too_short": "text that isn't empty",
    }
    return f"must be {types[kind]}" if kind in types else message
