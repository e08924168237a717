"""Which directions a swappable graph carries: those that adapters move most, for the multiply-adds allowed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serve.errors import InputError
from serve.swap import Form

STEP = 8  # directions: products of whole vector registers
PASSES = 12  # multiply-adds that adding a bypass to one value of the output takes beyond its own, by measurement on x86
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LayerMoves:
    """How much each direction of a layer `(in) → (out)` matters to each adapter.

    `shares (adapters, rank)`: of the energy that an adapter adds to the layer's output, the part that direction i
    adds: `δ_i² E[(v_iᵀ x)²]`, divided by its sum (`u_i` are orthonormal, so the parts add up). Rows sum to 1, or are
    zeros where the adapter leaves the layer alone.
    """

    out: int
    inp: int
    shares: Floats

    @property
    def rank(self) -> int:
        return int(self.shares.shape[1])

    def factored(self) -> int | None:
        """Multiply-adds a token that the factored form takes beyond `W`'s; None where the basis isn't of full rank."""
        if self.rank != min(self.out, self.inp):
            return None
        return self.rank * (self.out + self.inp) - self.out * self.inp


@dataclass(frozen=True, slots=True)
class Choice:
    """What a layer carries; `kept` are ascending places in its basis."""

    form: Form
    kept: tuple[int, ...]


def choose(moves: Mapping[str, LayerMoves], budget: float) -> dict[str, Choice]:
    """Spend `budget - 1` of the base's multiply-adds on the directions that add most of what the adapters learned.

    Directions of a layer are taken in the order of the mean share over the adapters (the union of what they move,
    weighed), eight at a time, in bypass form: `k (in + out)` multiply-adds a token, and as much as `PASSES · out` for
    the pass over memory that adds them. A layer whose basis is of full rank may instead carry all of them in factored
    form, for `rank (in + out) - in · out`: a quarter of W for 4:1 layers, as much as W for square ones. Among all such
    choices the one with the largest sum of shares within the budget is found by a price λ for a multiply-add: each
    layer takes what maximizes `share - λ · cost`; the lowest λ that keeps within the budget is bisected, and what is
    left is spent on the best next steps. (Greedy allocation under one Lagrange multiplier; optimal up to one step of
    one layer.)

    Raises InputError where no adapter moves anything, or for a budget of 1 or less.
    """
    if budget <= 1:
        raise InputError(f"export.swap_budget: must be above 1, the merged graph's own cost (got {budget})")
    allowed = (budget - 1) * sum(layer.out * layer.inp for layer in moves.values())
    options = {name: _options(layer) for name, layer in moves.items()}
    if not any(len(found) > 1 for found in options.values()):
        raise InputError("no adapter moves any singular value: there is nothing to swap")
    taken = _priced(options, allowed)
    spent = sum(options[name][place].cost for name, place in taken.items())
    while True:  # the steps still affordable, the best per multiply-add first
        steps = [
            (_gain(found[taken[name]], better), name, place)
            for name, found in options.items()
            for place, better in enumerate(found)
            if better.share > found[taken[name]].share and 0 < better.cost - found[taken[name]].cost <= allowed - spent
        ]
        if not steps:
            break
        _, name, place = max(steps)
        spent += options[name][place].cost - options[name][taken[name]].cost
        taken[name] = place
    return {name: options[name][place].choice(moves[name]) for name, place in taken.items()}


def kept_share(moves: Mapping[str, LayerMoves], choices: Mapping[str, Choice]) -> list[float]:
    """For each adapter the mean over the layers that it moves of the share that is kept; 1 if it moves none."""
    kept = sum(layer.shares[:, list(choices[name].kept)].sum(axis=1) for name, layer in moves.items())
    layers = sum((layer.shares.sum(axis=1) > 0).astype(int) for layer in moves.values())
    return [float(value) for value in np.where(layers > 0, kept / np.maximum(layers, 1), 1.0)]


@dataclass(frozen=True, slots=True)
class _Option:
    form: Form
    count: int
    cost: int
    share: float

    def choice(self, layer: LayerMoves) -> Choice:
        return Choice(self.form, tuple(sorted(int(place) for place in _order(layer)[: self.count])))


def _order(layer: LayerMoves) -> npt.NDArray[np.intp]:
    return np.argsort(-layer.shares.mean(axis=0), kind="stable")


def _options(layer: LayerMoves) -> list[_Option]:
    """Nothing, 8, 16, ... of the directions that some adapter moves, and all of them factored."""
    share = layer.shares.mean(axis=0)[_order(layer)]
    gained = np.concatenate([[0.0], np.cumsum(share)])
    moved = int((share > 0).sum())
    if not moved:
        return [_Option("untouched", 0, 0, 0.0)]
    counts = [*range(0, moved, STEP), moved]
    options = [
        _Option("bypass" if count else "untouched", count, _bypass(layer, count), float(gained[count]))
        for count in counts
    ]
    factored = layer.factored()
    if factored is not None:
        options = [option for option in options if option.cost < factored]
        options.append(_Option("factored", layer.rank, factored, float(gained[-1])))
    return options


def _bypass(layer: LayerMoves, count: int) -> int:
    return count * (layer.inp + layer.out) + PASSES * layer.out if count else 0


def _priced(options: Mapping[str, list[_Option]], allowed: float) -> dict[str, int]:
    """For each layer the place of what it takes at the lowest price that keeps the sum of costs within `allowed`."""

    def take(price: float) -> dict[str, int]:
        return {
            name: max(range(len(found)), key=lambda place: found[place].share - price * found[place].cost)
            for name, found in options.items()
        }

    def cost(taken: Mapping[str, int]) -> int:
        return sum(options[name][place].cost for name, place in taken.items())

    low, high = 0.0, 1.0  # at price 1 a multiply-add costs as much as a whole layer's share
    for _ in range(80):
        middle = (low + high) / 2 if low == 0 or high / low < 4 else float(np.sqrt(low * high))
        if cost(take(middle)) <= allowed:
            high = middle
        else:
            low = middle
    return take(high)


def _gain(now: _Option, better: _Option) -> float:
    return (better.share - now.share) / (better.cost - now.cost)
