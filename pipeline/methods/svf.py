"""svfit's own methods: one basis, three cores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from export.core import Core
from export.store import FactorStore
from pipeline.methods.method import Targets, head_of
from pipeline.model.load import Loaded
from pipeline.svf import SVFit, wrap
from pipeline.svf.decompose import Decomposition
from pipeline.svf.rank import RankSpec

NAME = "compared"


def prepare(
    loaded: Loaded,
    core: Core,
    rank: RankSpec,
    targets: Targets = "all-linear",
    train_bias: bool = False,
    train_layernorm: bool = False,
    directions: Mapping[str, Sequence[int]] | None = None,
    found: Decomposition | None = None,
) -> SVFit:
    """The target layers wrapped, the factors taken from this machine's cache."""
    svfit = wrap(
        loaded.model,
        rank=rank,
        targets=targets,
        whole=loaded.whole,
        train_bias=train_bias,
        train_layernorm=train_layernorm,
        store=FactorStore(),
        core=core,
        directions=directions,
        found=found,
    )
    svfit.add(NAME)
    svfit.activate(NAME)
    return svfit


def trained(svfit: SVFit) -> dict[str, int]:
    """Values that the core has at these ranks, biases and LayerNorms that are trained too with them; and the head's."""
    head = sum(value.numel() for _, value in head_of(svfit.model, svfit.whole))
    beside = sum(value.numel() for _, value in svfit.trainable()["head"]) - head
    return {"adapter": svfit.size + beside, "head": head}


def directions(svfit: SVFit) -> dict[str, list[int]]:
    """The singular triplets of each layer that are trained; layers that stay plain are not in it."""
    return {name: list(layer.places) for name, layer in svfit.basis.layers.items()}
