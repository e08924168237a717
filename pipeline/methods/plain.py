"""The two ends: everything trained, or nothing but the head."""

from __future__ import annotations

from pipeline.methods.method import Parameters, head_of
from pipeline.model.load import Loaded
from serve.errors import InputError


def full(loaded: Loaded) -> Parameters:
    """Every parameter, the head at a rate of its own."""
    head = head_of(loaded.model, loaded.whole)
    inside = {name for name, _ in head}
    rest = [(name, value) for name, value in loaded.model.named_parameters() if name not in inside]
    return Parameters(loaded.model, rest, head)


def head(loaded: Loaded) -> Parameters:
    """Raises `InputError` for a model that has none, as an embedder."""
    if not loaded.whole:
        raise InputError("head: this model has no head, so nothing would be trained")
    return Parameters(loaded.model, [], head_of(loaded.model, loaded.whole))
