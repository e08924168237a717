"""Which layers of a model SVFit may scale, and which modules are trained whole."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from torch import nn

from pipeline.svf.weights import is_linear, is_target
from serve.errors import UsageError


def find_targets(
    model: nn.Module, targets: str | Sequence[str] = "all-linear", whole: Sequence[str] = ()
) -> dict[str, nn.Module]:
    """Name → linear module or convolution, in model order.

    `targets` is `"all-linear"` (linear layers), `"all"` (convolutions of one group too), a regular expression that a
    module's full name must match, or a list of names (a full name or its last parts, such as `query` or
    `attention.query`). Modules trained whole (`whole`, by name) are never
    targets. Raises `UsageError` for a broken pattern, where nothing matches, or where a target's weight is tied to
    another parameter.
    """
    candidates = {
        name: module for name, module in model.named_modules() if is_target(module) and not _inside(name, whole)
    }
    try:
        chosen = {name: module for name, module in candidates.items() if _matches(name, module, targets)}
    except re.error as error:
        raise UsageError(f"adapter.targets: {targets!r} is no pattern ({error})") from None
    if not isinstance(targets, str):
        for wanted in targets:
            if not any(_ends_with(name, wanted) for name in candidates):
                raise UsageError(_no_match(wanted, list(candidates)))
    if not chosen:
        ending = isinstance(targets, str) and any(_ends_with(name, targets) for name in candidates)
        if targets == "all-linear" and candidates:
            raise UsageError(
                f"adapter.targets: this model has no linear layer outside its head, but {len(candidates)} convolutions;"
                ' try adapter.targets = "all"'
            )
        hint = f"; a pattern matches the whole name; try ['{targets}'] or '.*{targets}'" if ending else ""
        raise UsageError(_no_match(str(targets), list(candidates), hint))
    _refuse_tied(model, chosen)
    return chosen


def _inside(name: str, parents: Sequence[str]) -> bool:
    return any(name == parent or name.startswith(f"{parent}.") for parent in parents)


def _ends_with(name: str, wanted: str) -> bool:
    return name == wanted or name.endswith(f".{wanted}")


def _matches(name: str, module: nn.Module, targets: str | Sequence[str]) -> bool:
    if targets == "all-linear":
        return is_linear(module)
    if isinstance(targets, str):
        return targets == "all" or re.fullmatch(targets, name) is not None
    return any(_ends_with(name, wanted) for wanted in targets)


def _no_match(wanted: str, available: list[str], hint: str = "") -> str:
    endings = sorted({name.rsplit(".", 1)[-1] for name in available})
    close = difflib.get_close_matches(wanted, endings, n=1)
    hint = hint or (f"; did you mean {close[0]!r}?" if close else "")
    return f"adapter.targets: no layer matches {wanted!r}; available: {', '.join(endings) or 'none'}{hint}"


def _refuse_tied(model: nn.Module, chosen: dict[str, nn.Module]) -> None:
    owners: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        owners.setdefault(parameter.data_ptr(), []).append(name)
    modules = dict(model.named_modules(remove_duplicate=False))
    for name, module in chosen.items():
        weight = module.weight
        names = owners.get(weight.data_ptr(), [])  # type: ignore[operator]
        places = set()  # a block under two names is one place, a layer under two names of one block is two
        for owner in names:
            parent, _, leaf = owner.rpartition(".")[0].rpartition(".")
            places.add((id(modules[parent]), leaf))
        if len(places) > 1:
            others = ", ".join(owner for owner in names if not owner.startswith(f"{name}."))
            raise UsageError(
                f"adapter.targets: the weight of {name} is tied to {others}; scaling it would change both, "
                "name other layers in adapter.targets"
            )
