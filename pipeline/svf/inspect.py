"""What an adapter learned: how far it moved the singular values of each layer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from export.adapter import Adapter
from export.core import Core
from pipeline.svf.rank import effective_rank
from serve.errors import InputError, UsageError

TOP = 5


def inspect_adapter(folder: Path, *, layers: str | None = None) -> dict[str, Any]:
    """What a saved adapter is, and how far it moved each layer's singular values; needs neither base nor cache.

    `relative` is `|delta| / |sigma|` of a layer, `off_diagonal` the share of a banded or dense core that lies off its
    diagonal. `top` lists the directions that moved most in all of its layers, each by its place in the weight's list.
    Raises as `Adapter.load`, and `UsageError` where `layers` (a regular expression) matches none.
    """
    adapter = Adapter.load(folder)
    rows = []
    for name, layer in named(adapter.basis.layers, layers).items():
        delta, sigma = adapter.delta[name].double(), adapter.sigma[name].double()
        rows.append(
            {
                "name": name,
                "shape": list(layer.shape),
                "rank": layer.rank,
                "moved": int((_moved(adapter.core, delta) != 0).sum()),
                **({} if adapter.core.kind == "diagonal" else {"off_diagonal": off_diagonal(adapter.core, delta)}),
                "relative": float(delta.norm() / sigma.norm().clamp(min=torch.finfo(torch.float64).tiny)),
                **movement(sigma, delta, adapter.core, layer.places),
            }
        )
    top = sorted(
        ({"layer": row["name"], **entry} for row in rows for entry in row["top"]),
        key=lambda entry: -abs(entry["became"] - entry["was"]),
    )
    return {
        "kind": "adapter",
        "folder": str(folder),
        "basis_id": adapter.basis.id,
        "core": str(adapter.core),
        "values": adapter.size,
        "whole": {name: list(value.shape) for name, value in sorted(adapter.modules.items())},
        "bytes": (folder / "adapter.safetensors").stat().st_size,
        "card": dict(adapter.card),
        "delta_rms": float(torch.cat([_trained(adapter, row["name"]) for row in rows]).square().mean().sqrt()),
        "delta_max": max(row["delta_max"] for row in rows),
        "top": top[: 2 * TOP],
        "layers": rows,
    }


def named(layers: Mapping[str, Any], pattern: str | None) -> dict[str, Any]:
    """The layers in whose names `pattern` (`--layers`) is found. Raises `UsageError` for a broken one, or none."""
    if pattern is None:
        return dict(layers)
    try:
        kept = {name: layer for name, layer in layers.items() if re.search(pattern, name)}
    except re.error as error:
        raise UsageError(f"--layers {pattern}: not a regular expression ({error})") from None
    if not kept:
        raise UsageError(f"--layers {pattern}: matches none of the {len(layers)} layers, such as {next(iter(layers))}")
    return kept


def layer_spectra(
    adapter: Adapter, spectra: Mapping[str, torch.Tensor], energy: Mapping[str, float], points: int = 64
) -> list[dict[str, Any]]:
    """A row a layer: its spectrum, the share that its rank captures, and how far training moved each value.

    `spectra` holds the singular values of each weight that are known, `(n,)`, descending, `energy` the squares of all
    of them, summed: of a large weight only the top ones are known, and then no effective rank is.
    `spectrum` and `moved` are sampled at `index`, at most `points` of them, the first and last included; `moved` is the
    root of `Core.by_direction` (`|delta|` of a diagonal core), 0 for directions that aren't trained. Where the trained
    ones are `scattered`, not the first, an entry of `moved` is the largest from its index to the next one. Raises
    `InputError` for a layer without a spectrum, or one that is too short.
    """
    rows = []
    for name, layer in adapter.basis.layers.items():
        S = spectra.get(name)
        places = list(layer.places)
        if S is None or S.numel() <= places[-1]:
            held = "none" if S is None else str(S.numel())
            raise InputError(f"layer {name}: {held} of the {layer.rank} singular values it trains were given")
        values, delta = S.detach().double().cpu(), adapter.delta[name].detach().double().cpu()
        moved = torch.zeros_like(values)
        moved[places] = _moved(adapter.core, delta)
        index = sample_index(values.numel(), points)
        rows.append(
            {
                "name": name,
                "shape": list(layer.shape),
                "rank": layer.rank,
                "energy": float(values[places].square().sum()) / energy[name] if energy[name] else 1.0,
                "effective_rank": effective_rank(values) if values.numel() == min(layer.shape) else None,
                "spectrum": values[index].tolist(),
                "index": index,
                "moved": (moved[index] if layer.directions is None else _peaks(moved, index)).tolist(),
                "scattered": layer.directions is not None,
                **movement(adapter.sigma[name], delta, adapter.core, places),
            }
        )
    return rows


def movement(
    sigma: torch.Tensor, delta: torch.Tensor, core: Core, places: Sequence[int], top: int = TOP
) -> dict[str, Any]:
    """How far what was learned goes: rms and largest of a layer's trained values, and the `top` directions that moved
    most. A direction that did not move is never among the top.

    `delta` is of `core.shape(r)`, `sigma (r,)` what the singular values were, `places` theirs among all of the
    weight's. `became` is the value that the direction then has on the diagonal.
    """
    was, values = sigma.detach().double().cpu(), delta.detach().double().cpu()
    moved, change = _moved(core, values), core.diagonal(values)
    trained = values[core.mask(len(was))]
    order = moved.argsort(descending=True, stable=True)[:top].tolist()
    return {
        "delta_rms": float(trained.square().mean().sqrt()),
        "delta_max": float(trained.abs().max()),
        "top": [
            {"index": places[i], "was": float(was[i]), "became": float(was[i] + change[i])} for i in order if moved[i]
        ],
    }


def off_diagonal(core: Core, delta: torch.Tensor) -> float:
    """The share of a core's squares off its diagonal, which turn directions into each other; 0 where all are 0."""
    whole = float(delta.square().sum())
    return max(0.0, 1 - float(core.diagonal(delta).square().sum()) / whole) if whole else 0.0


def _moved(core: Core, delta: torch.Tensor) -> torch.Tensor:
    """How far each direction moved, `(r,)`: `|delta|`, or the root of half the squares in its row and column of `C`."""
    return delta.abs() if core.kind == "diagonal" else core.by_direction(delta).sqrt()


def _peaks(moved: torch.Tensor, index: Sequence[int]) -> torch.Tensor:
    return torch.stack([moved[start:end].max() for start, end in pairwise([*index, len(moved)])])


def _trained(adapter: Adapter, name: str) -> torch.Tensor:
    return adapter.delta[name].double()[adapter.core.mask(adapter.basis.layers[name].rank)]


def sample_index(count: int, points: int) -> Sequence[int]:
    """At most `points` of the indices `0 … count - 1`, evenly spread, the first and the last among them."""
    if count <= points:
        return list(range(count))
    return sorted({round(step * (count - 1) / max(1, points - 1)) for step in range(points)})
