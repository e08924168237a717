"""svfit's own methods: one basis, three cores."""

from __future__ import annotations

from export.core import Core
from export.store import FactorStore
from pipeline.model.load import Loaded
from pipeline.svf import SVFit, wrap
from pipeline.svf.rank import RankRule

NAME = "compared"


def prepare(loaded: Loaded, core: Core, rank: RankRule) -> SVFit:
    """All linear layers wrapped, the factors taken from this machine's cache."""
    svfit = wrap(loaded.model, rank=rank, core=core, whole=loaded.whole, store=FactorStore())
    svfit.add(NAME)
    svfit.activate(NAME)
    return svfit


def trained(svfit: SVFit) -> int:
    """Values that the core has at these ranks."""
    return sum(svfit.core.count(layer.rank) for layer in svfit.basis.layers.values())
