"""Put SVFit layers into a transformers model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn

from export.basis import Basis, Factors
from export.core import DIAGONAL, Core
from export.store import FactorStore
from pipeline.svf.decompose import Decomposition, Progress, decompose, recall
from pipeline.svf.layer import SVFLinear
from pipeline.svf.rank import RankSpec, refuse_whole_weights
from pipeline.svf.targets import find_targets
from pipeline.svf.wrap import SVFit
from serve.errors import UsageError


def wrap(
    model: nn.Module,
    *,
    rank: RankSpec = "full",
    targets: str | Sequence[str] = "all-linear",
    whole: Sequence[str] | None = None,
    train_bias: bool = False,
    train_layernorm: bool = False,
    store: FactorStore | None = None,
    basis: Basis | None = None,
    factors: Mapping[str, Factors] | None = None,
    progress: Progress | None = None,
    core: Core = DIAGONAL,
    directions: Mapping[str, Sequence[int]] | None = None,
    found: Decomposition | None = None,
) -> SVFit:
    """Put SVFit layers in place of a model's target layers and freeze the rest.

    `whole` names the modules trained whole (default: what lies outside the base model, the head). With `basis` that
    very basis is taken from the store (or from `factors`, which may be zero in directions that nobody moves), else it
    is computed (or found) at `rank`; or, with `directions`, of just those singular triplets of each layer: one without
    any stays plain; or it is `found` already, of this very model, and isn't looked at again. `core` says what an
    adapter may do on its directions. Raises `UsageError` for targets that match nothing or are tied, directions that a
    layer lacks, a dense core at a `rank` where it would train as many values as a weight has, more than one of `basis`,
    `directions` and `found`, or a model that is wrapped already; `InputError` where the model's weights aren't those of
    `basis`.
    """
    if any(isinstance(module, SVFLinear) for module in model.modules()):
        raise UsageError("the model is wrapped already; add another adapter to the SVFit that holds it")
    given = {"basis": basis, "directions": directions, "found": found}
    several = [name for name, value in given.items() if value is not None]
    if len(several) > 1:
        raise UsageError(
            f"wrap takes one of {', '.join(given)} (got {' and '.join(several)}): each names the directions"
        )
    heads = head_modules(model) if whole is None else list(whole)
    missing = [name for name in heads if name not in dict(model.named_modules())]
    if missing:
        raise UsageError(f"adapter.head_modules: the model has no module {missing[0]!r}")
    store = store or FactorStore()
    if basis is not None:
        found = recall(model, basis, store if factors is None else factors)
    elif found is None:
        chosen = None if directions is None else {name: places for name, places in directions.items() if places}
        found = decompose(find_targets(model, targets, heads), rank, store, progress, chosen)
        if directions is None:
            refuse_whole_weights(found.basis.layers, core)
    extra = _extra_parameters(model, train_bias, train_layernorm)
    layers: dict[str, SVFLinear] = {}
    for name in found.basis.layers:
        module = model.get_submodule(name)
        layers[name] = SVFLinear(module, found.factors[name], complete=factors is None, core=core)
        model.set_submodule(name, layers[name])
    return SVFit(model, layers, found, heads, extra, core)


def head_modules(model: nn.Module) -> list[str]:
    """The modules outside a transformers model's base model: its head, which every task trains whole.

    None for a bare model.
    """
    prefix = getattr(model, "base_model_prefix", "")
    if not prefix or not hasattr(model, prefix):
        return []
    return [name for name, child in model.named_children() if name != prefix and any(True for _ in child.parameters())]


def _extra_parameters(model: nn.Module, bias: bool, layernorm: bool) -> list[str]:
    names: list[str] = []
    norms = [
        name
        for name, module in model.named_modules()
        if "norm" in type(module).__name__.lower() and not any(True for _ in module.children())
    ]
    for name, _ in model.named_parameters():
        inside_norm = any(name.startswith(f"{norm}.") for norm in norms)
        if (bias and name.endswith("bias") and not inside_norm) or (layernorm and inside_norm):
            names.append(name)
    return names
