"""What singular values are and became: the spectra of a model's weights, and how far an adapter moved them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from export.adapter import Adapter
from pipeline.svf.rank import effective_rank, energy_share
from serve.errors import InputError

TOP = 5


def layer_spectra(adapter: Adapter, spectra: Mapping[str, torch.Tensor], points: int = 64) -> list[dict[str, Any]]:
    """A row a layer: its spectrum, the share that its rank captures, and how far training moved each value.

    `spectra` holds all singular values of each weight, `(min(out, in),)`, descending. `spectrum` and `moved`
    (`|delta|`, 0 beyond the rank) are sampled at `index`, at most `points` of them, the first and last included.
    Raises `InputError` for a layer without a spectrum, or one shorter than its rank.
    """
    rows = []
    for name, layer in adapter.basis.layers.items():
        S = spectra.get(name)
        if S is None or S.numel() < layer.rank:
            held = "none" if S is None else str(S.numel())
            raise InputError(f"layer {name}: {held} of the {layer.rank} singular values it trains were given")
        values, delta = S.detach().double().cpu(), adapter.delta[name].detach().double().cpu()
        moved = torch.zeros_like(values)
        moved[: layer.rank] = delta.abs()
        index = sample_index(values.numel(), points)
        rows.append(
            {
                "name": name,
                "shape": list(layer.shape),
                "rank": layer.rank,
                "energy": energy_share(values, layer.rank),
                "effective_rank": effective_rank(values),
                "spectrum": values[index].tolist(),
                "index": index,
                "moved": moved[index].tolist(),
                **movement(adapter.sigma[name], delta),
            }
        )
    return rows


def movement(sigma: torch.Tensor, delta: torch.Tensor, top: int = TOP) -> dict[str, Any]:
    """How far `delta (r,)` moved the values `sigma (r,)`: rms, largest, and the `top` that moved most.

    A value that did not move is never among the top.
    """
    was, change = sigma.detach().double().cpu(), delta.detach().double().cpu()
    order = change.abs().argsort(descending=True, stable=True)[:top].tolist()
    return {
        "delta_rms": float(change.square().mean().sqrt()),
        "delta_max": float(change.abs().max()),
        "top": [
            {"index": int(i), "was": float(was[i]), "became": float(was[i] + change[i])}
            for i in order
            if change[i] != 0
        ],
    }


def sample_index(count: int, points: int) -> Sequence[int]:
    """At most `points` of the indices `0 … count - 1`, evenly spread, the first and the last among them."""
    if count <= points:
        return list(range(count))
    return sorted({round(step * (count - 1) / max(1, points - 1)) for step in range(points)})
