"""What a base model's weights are made of: every spectrum, what cutting it does to the outputs, and guidance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from export.basis import Factors
from export.store import FactorStore
from pipeline.model.load import Loaded, load
from pipeline.model.source import Source
from pipeline.model.vision import load_vision, reads_images
from pipeline.svf.cuts import kind_of, measure_outputs, ranks_for
from pipeline.svf.decompose import Decomposition, Progress, decompose
from pipeline.svf.guidance import FLAT, costs, guide
from pipeline.svf.inspect import named, sample_index
from pipeline.svf.noise import random_spectrum
from pipeline.svf.randomized import TOLERANCE
from pipeline.svf.rank import RankSpec, choose_rank, effective_rank, energy_share
from pipeline.svf.targets import find_targets
from pipeline.svf.weights import oriented_weight

RANKS = (8, 32, 128)
SHARES = (0.9, 0.99)


def inspect_model(
    source: Source,
    *,
    rank: RankSpec = "full",
    layers: str | None = None,
    targets: str = "all-linear",
    store: FactorStore | None = None,
    progress: Progress | None = None,
    texts: Sequence[str] | None = None,
    outputs_progress: Progress | None = None,
) -> dict[str, Any]:
    """The spectrum of every weight that SVFit would move in a base model, named as an adapter names them, and guidance.

    `layers` is a regular expression searched in the names of the `targets` (as `find_targets` takes them). Factors come
    from the store where it has them and are put there where not (`computed` says how many were decomposed). `basis_id`
    and `values` are those of a diagonal adapter of this `rank` on these layers. With `texts`, which a model of images
    can't take, `outputs` tells what cutting the weights does to the model's vectors for them (`pipeline.svf.cuts`),
    else it is None. `guidance` says what follows (`pipeline.svf.guidance`). Raises `InputError` for a model that can't
    be read, `UsageError` where no layer is left.
    """
    loaded = load_vision(source, []) if reads_images(source) else load(source, [])
    store = store or FactorStore()
    found = decompose(named(find_targets(loaded.model, targets, loaded.whole), layers), rank, store, progress)
    described = found.basis.layers
    rows = [
        {
            "name": name,
            "kind": kind_of(name),
            "shape": list(layer.shape),
            "rank": layer.rank,
            **spectrum(found.spectra[name], layer.rank, layer.shape, found.energy[name]),
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
        "randomized": found.randomized,
        "residual": found.residual,
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
        known = found.spectra[name].numel()
        if layer.rank == known:
            factors[name] = found.factors[name]
            continue
        kept = store.find(layer.weight_sha256, known, TOLERANCE)
        assert kept is not None  # noqa: S101 (decompose has just put it there)
        factors[name] = kept.factors
    counts = [min(layer.shape) for layer in found.basis.layers.values()]
    least = min(
        (part.rank for part, count in zip(factors.values(), counts, strict=True) if part.rank < count), default=0
    )
    tried = [each for each in ranks_for(counts) if not least or each <= least]
    quarter = max(set(counts), key=counts.count) // 4
    ranks = {str(each): dict.fromkeys(factors, each) for each in tried}
    compared = [str(quarter if quarter in tried else tried[-1])] if tried else []
    if rank != "full":
        ranks[str(rank)] = {name: layer.rank for name, layer in found.basis.layers.items()}
        compared.append(str(rank))
        ranks = dict(sorted(ranks.items(), key=lambda item: sum(item[1].values())))
    measured = measure_outputs(loaded, weights, factors, texts, ranks, compared, progress)
    return {**measured, "compared": compared[0]}


def spectrum(
    S: torch.Tensor, rank: int, shape: tuple[int, int], energy: float | None = None, points: int = 64
) -> dict[str, Any]:
    """What a weight's singular values `S (known,)`, descending, say: largest, median, smallest, where the energy is.

    `energy` is the sum of all squares, also of those beyond the known; what would need these is None.
    `captured` is the share of the energy at `rank`, `energy` at a few ranks, `rank_for` the ranks that hold a share;
    `random` the same of a matrix of this `shape (out, in)` without structure, its `spectrum` scaled to as much energy.
    `flat` is a spectrum that takes nearly as many directions as that one for 90% of its energy.
    """
    values, noise, count = S.double(), random_spectrum(shape), min(shape)
    complete = S.numel() == count
    total = float(values.square().sum()) if complete or energy is None else energy
    noise = noise * (total**0.5 / float(noise.norm()))
    index = sample_index(S.numel(), points)
    found, random = _shares(values, rank, count, total), _shares(noise, rank, count, total)
    least = found["rank_for"]["0.9"] or S.numel() + 1
    return {
        "count": count,
        "known": S.numel(),
        "max": float(values[0]),
        "median": float(values.median()) if complete else None,
        "min": float(values[-1]) if complete else None,
        **found,
        "random": {**random, "spectrum": noise[index].tolist()},
        "flat": True if least >= FLAT * random["rank_for"]["0.9"] else False if found["rank_for"]["0.9"] else None,
        "index": index,
        "spectrum": values[index].tolist(),
    }


def _shares(S: torch.Tensor, rank: int, count: int, total: float) -> dict[str, Any]:
    complete = S.numel() == count
    below = S.square().cumsum(0)

    def share(r: int) -> float:
        return (float(below[r - 1]) / total if total else 1.0) if not complete else energy_share(S, r)

    def needed(part: float) -> int | None:
        if complete:
            return choose_rank(part, "", S)
        return int((below < part * total).sum()) + 1 if float(below[-1]) >= part * total else None

    return {
        "captured": share(rank),
        "effective_rank": effective_rank(S) if complete else None,
        "energy": {str(r): share(r) for r in RANKS if r < count and r <= S.numel()},
        "rank_for": {str(part): needed(part) for part in SHARES},
    }
