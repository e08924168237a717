"""A trained adapter back on its base model, not folded: for going on training, for exporting the base, for checks."""

from __future__ import annotations

from export.adapter import Adapter
from export.store import FactorStore
from pipeline.model.load import Loaded
from pipeline.stages.context import Context
from pipeline.stages.onto import read_onto
from pipeline.svf import SVFit, wrap
from pipeline.tasks import task_of
from serve.errors import InputError

NAME = "default"


def with_adapter(context: Context, adapter: Adapter) -> tuple[Loaded, SVFit]:
    """The base model wrapped on the adapter's own basis, the adapter active as `NAME`; in evaluation mode.

    Raises `InputError` where the base model's weights aren't those that the adapter was trained on.
    """
    card = adapter.card
    if card["base"]["sha256"] != context.base["sha256"]:
        raise InputError(
            f"{context.path('adapter')}: trained on {card['base']['name']}, whose weights have changed since"
        )
    onto = read_onto(context)
    loaded = task_of(card["task"]).load(
        context.source, card["labels"], pooling=card["pooling"], dropout=card["dropout"]
    )
    svfit = wrap(
        loaded.model,
        whole=card["whole_modules"],
        train_bias=card["train_bias"],
        train_layernorm=card["train_layernorm"],
        store=FactorStore(),
        core=adapter.core,
        basis=adapter.basis,
        factors=None if onto is None else onto.factors,
    )
    svfit.load(adapter, NAME)
    svfit.activate(NAME)
    loaded.model.eval()
    return loaded, svfit
