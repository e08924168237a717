"""A head that grows: rows for labels that the adapter didn't know, the others where they were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from export.adapter import Adapter
from pipeline.model.load import load
from pipeline.stages.context import Context
from serve.errors import InputError


def with_labels(context: Context, adapter: Adapter, labels: Sequence[str], seed: int) -> Adapter:
    """The adapter with these labels, each old one's row of the head at its new place.

    Rows of new labels start as the pipeline starts a head, from `seed`. Raises `InputError` for a head that can't grow.
    """
    old: list[str] = list(adapter.card["labels"])
    if old == list(labels):
        return adapter
    torch.manual_seed(seed)
    card = dict(adapter.card) | {"labels": list(labels)}
    fresh = load(context.source, labels, pooling=card["pooling"], dropout=card["dropout"]).model
    places = [labels.index(label) for label in old]
    return replace(adapter, modules=_grown(adapter.modules, dict(fresh.named_parameters()), places), card=card)


def _grown(
    modules: Mapping[str, torch.Tensor], fresh: Mapping[str, torch.Tensor], places: Sequence[int]
) -> dict[str, torch.Tensor]:
    found, moved = {}, 0
    for name, value in modules.items():
        start = fresh.get(name)
        if start is None:
            raise InputError(f"adapter: its base model has no parameter {name}")
        if value.shape == start.shape:
            found[name] = value
            continue
        if value.dim() == 0 or value.shape[0] != len(places) or value.shape[1:] != start.shape[1:]:
            raise InputError(f"adapter: {name} {tuple(value.shape)} can't grow to {tuple(start.shape)}")
        grown = start.detach().float().clone()
        grown[list(places)] = value
        found[name], moved = grown, moved + 1
    if not moved:
        raise InputError("adapter: no parameter of its head has a row for each label")
    return found
