"""What singular values are and became: the spectra of a model's weights, and how far an adapter moved them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from export.adapter import Adapter
from export.core import Core
from export.store import FactorStore
from pipeline.model.load import load
from pipeline.model.source import Source
from pipeline.svf.decompose import Progress, decompose
from pipeline.svf.rank import RankSpec, choose_rank, effective_rank, energy_share
from pipeline.svf.targets import find_targets
from serve.errors import InputError, UsageError

TOP = 5
RANKS = (8, 32, 128)
SHARES = (0.9, 0.99)


def inspect_model(
    source: Source,
    *,
    rank: RankSpec = "full",
    layers: str | None = None,
    store: FactorStore | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """The spectrum of every weight that SVFit would scale in a base model, named as an adapter names them.

    `layers` is a regular expression searched in the names. Factors come from the store where it has them and are put
    there where not (`computed` says how many were decomposed). `basis_id` and `values` are those of an adapter of this
    `rank` on these layers. Raises `InputError` for a model that can't be read, `UsageError` where no layer is left.
    """
    loaded = load(source, [])
    store = store or FactorStore()
    targets = _named(find_targets(loaded.model, "all-linear", loaded.whole), layers)
    found = decompose(targets, rank, store, progress)
    return {
        "kind": "model",
        "name": source.name,
        "folder": str(source.folder),
        "sha256": source.sha256(),
        "pooling": loaded.pooling,
        "trained_whole": list(loaded.whole),
        "rank": rank,
        "basis_id": found.basis.id,
        "values": found.basis.size,
        "computed": found.computed,
        "seconds": found.seconds,
        "cache": str(store.root),
        "layers": [
            {"name": name, "shape": list(layer.shape), "rank": layer.rank, **spectrum(found.spectra[name], layer.rank)}
            for name, layer in found.basis.layers.items()
        ],
    }


def spectrum(S: torch.Tensor, rank: int, points: int = 64) -> dict[str, Any]:
    """What a weight's singular values `S (n,)`, descending, say: largest, median, smallest, and where the energy is.

    `captured` is the share of the energy at `rank`, `energy` at a few ranks, `rank_for` the ranks that hold a share.
    """
    values = S.double()
    index = sample_index(S.numel(), points)
    return {
        "count": S.numel(),
        "max": float(values[0]),
        "median": float(values.median()),
        "min": float(values[-1]),
        "captured": energy_share(S, rank),
        "effective_rank": effective_rank(S),
        "energy": {str(r): energy_share(S, r) for r in RANKS if r < S.numel()},
        "rank_for": {str(share): choose_rank(share, "", S) for share in SHARES},
        "index": index,
        "spectrum": values[index].tolist(),
    }


def inspect_adapter(folder: Path, *, layers: str | None = None) -> dict[str, Any]:
    """What a saved adapter is, and how far it moved each layer's singular values; needs neither base nor cache.

    `relative` is `|delta| / |sigma|` of a layer. `top` lists the directions that moved most in all of its layers.
    Raises as `Adapter.load`, and `UsageError` where `layers` (a regular expression) matches none.
    """
    adapter = Adapter.load(folder)
    rows = []
    for name, layer in _named(adapter.basis.layers, layers).items():
        delta, sigma = adapter.delta[name].double(), adapter.sigma[name].double()
        rows.append(
            {
                "name": name,
                "shape": list(layer.shape),
                "rank": layer.rank,
                "moved": int((turned(adapter.core, delta) != 0).sum()),
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


def _named(layers: Mapping[str, Any], pattern: str | None) -> dict[str, Any]:
    if pattern is None:
        return dict(layers)
    try:
        kept = {name: layer for name, layer in layers.items() if re.search(pattern, name)}
    except re.error as error:
        raise UsageError(f"--layers {pattern}: not a regular expression ({error})") from None
    if not kept:
        raise UsageError(f"--layers {pattern}: matches none of the {len(layers)} layers, such as {next(iter(layers))}")
    return kept


def layer_spectra(adapter: Adapter, spectra: Mapping[str, torch.Tensor], points: int = 64) -> list[dict[str, Any]]:
    """A row a layer: its spectrum, the share that its rank captures, and how far training moved each value.

    `spectra` holds all singular values of each weight, `(min(out, in),)`, descending. `spectrum` and `moved` are
    sampled at `index`, at most `points` of them, the first and last included; `moved` is as `turned` has it, 0 for
    directions that aren't trained. Raises `InputError` for a layer without a spectrum, or one shorter than its rank.
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
        moved[places] = turned(adapter.core, delta)
        index = sample_index(values.numel(), points)
        rows.append(
            {
                "name": name,
                "shape": list(layer.shape),
                "rank": layer.rank,
                "energy": _held(values, places),
                "effective_rank": effective_rank(values),
                "spectrum": values[index].tolist(),
                "index": index,
                "moved": moved[index].tolist(),
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
    moved, change = turned(core, values), core.matrix(values).diagonal()
    trained = values[core.mask(len(was))]
    order = moved.argsort(descending=True, stable=True)[:top].tolist()
    return {
        "delta_rms": float(trained.square().mean().sqrt()),
        "delta_max": float(trained.abs().max()),
        "top": [
            {"index": places[i], "was": float(was[i]), "became": float(was[i] + change[i])} for i in order if moved[i]
        ],
    }


def turned(core: Core, delta: torch.Tensor) -> torch.Tensor:
    """How far each direction moved, `(r,)`: `|delta|`, or the root of half the squares in its row and column of `C`."""
    if core.kind == "diagonal":
        return delta.abs()
    squares = core.matrix(delta).square()
    return ((squares.sum(0) + squares.sum(1)) / 2).sqrt()


def _trained(adapter: Adapter, name: str) -> torch.Tensor:
    return adapter.delta[name].double()[adapter.core.mask(adapter.basis.layers[name].rank)]


def _held(values: torch.Tensor, places: Sequence[int]) -> float:
    squares = values.square()
    total = float(squares.sum())
    return float(squares[list(places)].sum()) / total if total else 1.0


def sample_index(count: int, points: int) -> Sequence[int]:
    """At most `points` of the indices `0 … count - 1`, evenly spread, the first and the last among them."""
    if count <= points:
        return list(range(count))
    return sorted({round(step * (count - 1) / max(1, points - 1)) for step in range(points)})
