"""A budget of trained values, spread over layers and directions; and the directions that hold what was learned."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from itertools import pairwise

import torch

from export.core import Core

Chosen = dict[str, list[int]]
"""Layer → places of its directions, increasing; a layer without any isn't there."""


def spread(budget: int, core: Core, gains: Mapping[str, torch.Tensor]) -> Chosen:
    """The directions worth most that together cost no more than `budget` trained values.

    `gains` says what each direction of each layer is worth, `(directions,)`, nowhere negative. A diagonal core takes
    the best anywhere. The others act among neighbours, so each layer takes its first `r` at `core.count(r)` values;
    its gain at place `i` is then what growing from `i` directions to `i + 1` adds. Whatever is left over is spent as
    well: in the end no layer can grow by a direction within the budget.
    """
    if core.kind == "diagonal":
        return _best(budget, gains)
    ranks, left = dict.fromkeys(gains, 0), budget
    order = {name: number for number, name in enumerate(gains)}
    for _, name, rank in sorted(_steps(core, gains), key=lambda step: (-step[0], order[step[1]], step[2])):
        cost = core.count(rank) - core.count(ranks[name])
        if ranks[name] < rank and cost <= left:
            ranks[name], left = rank, left - cost
    _fill(left, core, gains, ranks)
    return {name: list(range(rank)) for name, rank in ranks.items() if rank}


def by_energy(spectra: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What each direction is worth by its share of its layer's squared singular values, `(directions,)`, float64."""
    found = {}
    for name, S in spectra.items():
        squares = S.detach().double().cpu().square()
        found[name] = squares / squares.sum().clamp(min=torch.finfo(torch.float64).tiny)
    return found


def evenly(spectra: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What each direction is worth where every layer shall have the same rank, `(directions,)`, float64."""
    return {name: 1.0 / torch.arange(1, S.numel() + 1, dtype=torch.float64) for name, S in spectra.items()}


def holding(share: float, core: Core, values: Mapping[str, torch.Tensor]) -> Chosen:
    """The fewest directions that hold `share` of the squares of all that was learned, over all layers.

    `values` are the learned values of each layer, of `core.shape(r)`. What a direction takes part in is its row and its
    column of `C`; for a banded core directions are only dropped from a layer's end. Where nothing was learned, nothing
    is dropped.
    """
    squares = {name: core.matrix(value.detach().double().cpu()).square() for name, value in values.items()}
    total = float(sum(square.sum() for square in squares.values()))
    if not total:
        return {name: list(range(len(square))) for name, square in squares.items()}
    worth = {name: (square.sum(0) + square.sum(1)) / 2 for name, square in squares.items()}
    if core.kind == "banded":
        worth = {name: value.flip(0).cumsum(0).flip(0) for name, value in worth.items()}
    fewest, most = 1, sum(len(value) for value in worth.values())
    while fewest < most:
        middle = (fewest + most) // 2
        kept = _best(middle, worth)
        held = sum(float(squares[name][places][:, places].sum()) for name, places in kept.items())
        fewest, most = (fewest, middle) if held >= share * total else (middle + 1, most)
    return _best(fewest, worth)


def _best(count: int, worth: Mapping[str, torch.Tensor]) -> Chosen:
    """The `count` directions worth most; of equals, the earlier place, then the earlier layer."""
    places = [
        (-value, place, name) for name, values in worth.items() for place, value in enumerate(values.double().tolist())
    ]
    order = {name: number for number, name in enumerate(worth)}
    chosen: Chosen = {name: [] for name in worth}
    for _, place, name in sorted(places, key=lambda entry: (entry[0], entry[1], order[entry[2]]))[:count]:
        chosen[name].append(place)
    return {name: sorted(found) for name, found in chosen.items() if found}


def _steps(core: Core, gains: Mapping[str, torch.Tensor]) -> Iterator[tuple[float, str, int]]:
    """Gain a value, layer, and rank to grow to: the corners of each layer's concave hull of gain over cost."""
    for name, values in gains.items():
        reached = [0.0, *values.double().cumsum(0).tolist()]
        corners = [0]
        for rank in range(1, len(reached)):
            while len(corners) > 1 and _density(core, reached, corners[-1], rank) >= _density(
                core, reached, corners[-2], corners[-1]
            ):
                corners.pop()
            corners.append(rank)
        for earlier, rank in pairwise(corners):
            yield _density(core, reached, earlier, rank), name, rank


def _density(core: Core, reached: list[float], earlier: int, rank: int) -> float:
    return (reached[rank] - reached[earlier]) / (core.count(rank) - core.count(earlier))


def _fill(left: int, core: Core, gains: Mapping[str, torch.Tensor], ranks: dict[str, int]) -> None:
    """Grow layers a direction at a time, the one that gains most a value first, while any growth is affordable."""

    def growth(number: int, name: str) -> tuple[float, int, str]:
        cost = core.count(ranks[name] + 1) - core.count(ranks[name])
        return -float(gains[name][ranks[name]]) / cost, number, name

    waiting = [growth(number, name) for number, name in enumerate(gains) if ranks[name] < len(gains[name])]
    heapq.heapify(waiting)
    while waiting:
        _, number, name = heapq.heappop(waiting)
        cost = core.count(ranks[name] + 1) - core.count(ranks[name])
        if cost > left:
            continue
        ranks[name], left = ranks[name] + 1, left - cost
        if ranks[name] < len(gains[name]):
            heapq.heappush(waiting, growth(number, name))
