"""A budget of trained values, spread over layers and directions; and the directions that hold what was learned."""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
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
        return _by_layer(_by_worth(gains)[:budget], gains)
    ranks, left = dict.fromkeys(gains, 0), budget
    order = {name: number for number, name in enumerate(gains)}
    for _, name, rank in sorted(_steps(core, gains), key=lambda step: (-step[0], order[step[1]], step[2])):
        cost = core.count(rank) - core.count(ranks[name])
        if ranks[name] < rank and cost <= left:
            ranks[name], left = rank, left - cost
    _fill(left, core, gains, ranks)
    return {name: list(range(rank)) for name, rank in ranks.items() if rank}


def holding(share: float, core: Core, values: Mapping[str, torch.Tensor]) -> Chosen:
    """The fewest directions that hold `share` of the squares of all that was learned, over all layers.

    `values` are the learned values of each layer, of `core.shape(r)`. Directions are taken in the order of
    `core.by_direction`, so that a core that mixes them may have a smaller choice that holds as much; a banded core only
    drops them from a layer's end. Where nothing was learned, nothing is dropped.
    """
    learned = {name: value.detach().double().cpu() for name, value in values.items()}
    worth = {name: core.by_direction(value) for name, value in learned.items()}
    total = float(sum(each.sum() for each in worth.values()))
    if not total:
        return {name: list(range(len(each))) for name, each in worth.items()}
    if core.kind == "banded":
        worth = {name: each.flip(0).cumsum(0).flip(0) for name, each in worth.items()}
    order = _by_worth(worth)

    def held(count: int) -> float:
        kept = _by_layer(order[:count], worth)
        return sum(float(core.take(learned[name], places).square().sum()) for name, places in kept.items())

    fewest = 1 + bisect_left(range(1, len(order)), share * total, key=held)
    return _by_layer(order[:fewest], worth)


def _by_worth(worth: Mapping[str, torch.Tensor]) -> list[tuple[str, int]]:
    """Every direction as layer and place, those worth most first; of equals, the earlier place, then the layer."""
    entries = [
        (-value, place, number, name)
        for number, (name, values) in enumerate(worth.items())
        for place, value in enumerate(values.double().tolist())
    ]
    return [(name, place) for _, place, _, name in sorted(entries)]


def _by_layer(directions: Iterable[tuple[str, int]], layers: Iterable[str]) -> Chosen:
    chosen: Chosen = {name: [] for name in layers}
    for name, place in directions:
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
