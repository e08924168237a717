"""What a base model's weights are made of: every spectrum, what cutting it does to the outputs, and guidance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from export.basis import Factors
from export.store import FactorStore
from pipeline.model.load import Loaded, load
from pipeline.model.source import Source
from pipeline.svf.cuts import kind_of, measure_outputs, ranks_for
from pipeline.svf.decompose import Decomposition, Progress, decompose
from pipeline.svf.guidance import FLAT, costs, guide
from pipeline.svf.inspect import named, sample_index
from pipeline.svf.layer import oriented_weight
from pipeline.svf.noise import random_spectrum
from pipeline.svf.rank import RankSpec, choose_rank, effective_rank, energy_share
from pipeline.svf.targets import find_targets

RANKS = (8, 32, 128)
SHARES = (0.9, 0.99)


def inspect_model(
    source: Source,
    *,
    rank: RankSpec = "full",
    layers: str | None = None,
    store: FactorStore | None = None,
    progress: Progress | None = None,
    texts: Sequence[str] | None = None,
    outputs_progress: Progress | None = None,
) -> dict[str, Any]:
    """The spectrum of every weight that SVFit would move in a base model, named as an adapter names them, and guidance.

    `layers` is a regular expression searched in the names. Factors come from the store where it has them and are put
    there where not (`computed` says how many were decomposed). `basis_id` and `values` are those of a diagonal adapter
    of this `rank` on these layers. With `texts`, `outputs` tells what cutting the weights does to the model's vectors
    for them (`pipeline.svf.cuts`), else it is None. `guidance` says what follows (`pipeline.svf.guidance`). Raises
    `InputError` for a model that can't be read, `UsageError` where no layer is left.
    """
    loaded = load(source, [])
    store = store or FactorStore()
    targets = named(find_targets(loaded.model, "all-linear", loaded.whole), layers)
    found = decompose(targets, rank, store, progress)
    described = found.basis.layers
    rows = [
        {
            "name": name,
            "kind": kind_of(name),
            "shape": list(layer.shape),
            "rank": layer.rank,
            **spectrum(found.spectra[name], layer.rank, layer.shape),
        }
        for name, layer in described.items()
    ]
    shapes = [layer.shape for layer in described.values()]
    priced = costs(shapes, [layer.rank for layer in described.values()])
    document = {
        "kind": "model",
        "name": source.name,
        "folder": str(source.folder),
        "sha256": source.sha256(),
        "pooling": loaded.pooling,
        "trained_whole": list(loaded.whole),
        "rank": rank,
        "basis_id": found.basis.id,
        "values": found.basis.size,
        "directions": sum(min(shape) for shape in shapes),
        "lora": priced[-1]["values"],
        "computed": found.computed,
        "seconds": found.seconds,
        "cache": str(store.root),
        "layers": rows,
        "costs": priced,
        "outputs": _outputs(loaded, found, rank, texts, store, outputs_progress) if texts else None,
    }
    return {**document, "guidance": guide(document)}


def _outputs(
    loaded: Loaded,
    found: Decomposition,
    rank: RankSpec,
    texts: Sequence[str],
    store: FactorStore,
    progress: Progress | None,
) -> dict[str, Any]:
    """`measure_outputs` at a few ranks and the chosen one; kinds are compared in every way at a quarter, and there."""
    modules = dict(loaded.model.named_modules())
    weights = {name: oriented_weight(modules[name]).detach() for name in found.basis.layers}
    factors: dict[str, Factors] = {}
    for name, layer in found.basis.layers.items():
        kept = store.get(layer.weight_sha256)
        assert kept is not None  # noqa: S101 (decompose has just put it there)
        factors[name] = kept
    counts = [part.rank for part in factors.values()]
    tried = ranks_for(counts)
    ranks = {str(each): dict.fromkeys(factors, each) for each in tried}
    quarter = max(set(counts), key=counts.count) // 4
    compared = [str(quarter if quarter in tried else tried[0])] if tried else []
    if rank != "full":
        ranks[str(rank)] = {name: layer.rank for name, layer in found.basis.layers.items()}
        compared.append(str(rank))
        ranks = dict(sorted(ranks.items(), key=lambda item: sum(item[1].values())))
    measured = measure_outputs(loaded, weights, factors, texts, ranks, compared, progress)
    return {**measured, "compared": compared[0]}


def spectrum(S: torch.Tensor, rank: int, shape: tuple[int, int], points: int = 64) -> dict[str, Any]:
    """What a weight's singular values `S (n,)`, descending, say: largest, median, smallest, and where the energy is.

    `captured` is the share of the energy at `rank`, `energy` at a few ranks, `rank_for` the ranks that hold a share;
    `random` the same of a matrix of this `shape (out, in)` without structure, its `spectrum` scaled to as much energy.
    `flat` is a spectrum that takes nearly as many directions as that one for 90% of its energy.
    """
    values, noise = S.double(), random_spectrum(shape)
    noise = noise * (values.norm() / noise.norm())
    index = sample_index(S.numel(), points)
    found, random = _shape_of(values, rank), _shape_of(noise, rank)
    return {
        "count": S.numel(),
        "max": float(values[0]),
        "median": float(values.median()),
        "min": float(values[-1]),
        **found,
        "random": {**random, "spectrum": noise[index].tolist()},
        "flat": found["rank_for"]["0.9"] >= FLAT * random["rank_for"]["0.9"],
        "index": index,
        "spectrum": values[index].tolist(),
    }


def _shape_of(S: torch.Tensor, rank: int) -> dict[str, Any]:
    return {
        "captured": energy_share(S, rank),
        "effective_rank": effective_rank(S),
        "energy": {str(r): energy_share(S, r) for r in RANKS if r < S.numel()},
        "rank_for": {str(share): choose_rank(share, "", S) for share in SHARES},
    }
