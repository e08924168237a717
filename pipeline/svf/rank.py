"""Rank rules: how many singular directions of each weight are trained."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import torch

from export.basis import LayerBasis
from export.core import Core
from serve.errors import UsageError

RankRule = int | float | str
RankSpec = RankRule | Mapping[str, RankRule]
LORA_RANK = 8
"""LoRA's usual rank: what it trains is the measure of what a core trains."""
LORA_PART = 16
"""A core shall train no more than this part of it, where nothing else is asked for."""


def choose_rank(spec: RankSpec, layer: str, S: torch.Tensor) -> int:
    """The rank of one layer with all its singular values `S (min(out, in),)`, descending.

    `spec` is a number of directions (capped at what the weight has), a share of the energy `0 < x < 1` (the fewest
    directions whose squared singular values sum to that share), `"full"`, or a table of regular expressions searched
    in the layer's name, first match wins. Raises `UsageError` for anything else, or a layer no pattern matches.
    """
    rule = rule_for(spec, layer)
    if rule == "full":
        return S.numel()
    if isinstance(rule, bool | str):
        raise UsageError(f'adapter.rank: {rule!r} is no rank; use a number, a share such as 0.99, or "full"')
    if isinstance(rule, int):
        if rule < 1:
            raise UsageError(f"adapter.rank: must be > 0 (got {rule})")
        return min(rule, S.numel())
    if not 0 < rule < 1:
        raise UsageError(f"adapter.rank: a share of the energy lies between 0 and 1 (got {rule})")
    energy = S.double().square().cumsum(0)
    return min(int((energy < rule * energy[-1]).sum()) + 1, S.numel())


def rule_for(spec: RankSpec, layer: str) -> RankRule:
    """The rule that `spec` has for one layer; raises `UsageError` where it is a table and no pattern matches."""
    if not isinstance(spec, Mapping):
        return spec
    for pattern, rule in spec.items():
        try:
            found = re.search(pattern, layer)
        except re.error as error:
            raise UsageError(f"adapter.rank: {pattern!r} is no pattern ({error})") from None
        if found:
            return rule
    raise UsageError(
        f"adapter.rank: no pattern matches layer {layer}; patterns: {', '.join(spec)}; add one such as '.*'"
    )


def refuse_whole_weights(layers: Mapping[str, LayerBasis], core: Core) -> None:
    """Raises `UsageError` where a dense core would train as many values as a weight has."""
    for name, layer in layers.items():
        if core.kind == "dense" and core.count(layer.rank) >= layer.shape[0] * layer.shape[1]:
            raise UsageError(
                f"adapter.rank: a dense core of rank {layer.rank} trains {core.count(layer.rank):,} values on {name}, "
                "as many as its weight has; use a smaller rank, such as 16"
            )


def lora_values(shapes: Iterable[tuple[int, int]]) -> int:
    """What LoRA of rank `LORA_RANK` trains on weights of these shapes `(out, in)`."""
    return sum(LORA_RANK * (out + inp) for out, inp in shapes)


def energy_share(S: torch.Tensor, rank: int) -> float:
    """Share of the squared singular values that the first `rank` hold; 1.0 for an all-zero weight."""
    squares = S.double().square()
    total = float(squares.sum())
    return float(squares[:rank].sum()) / total if total else 1.0


def effective_rank(S: torch.Tensor) -> float:
    """`exp(H(p))` of `p_i = s_i / sum(s)` (Roy and Vetterli 2007, "The effective rank", eq. 2); 0.0 for all zeros."""
    values = S.double()
    total = float(values.sum())
    if not total:
        return 0.0
    shares = values[values > 0] / total
    return float(torch.exp(-(shares * shares.log()).sum()))
