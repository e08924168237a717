"""Wrap a transformers model with SVFit layers: several named adapters on one basis."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from export.adapter import Adapter
from export.basis import Basis, Factors
from export.core import DIAGONAL, Core
from export.store import FactorStore
from pipeline.svf.decompose import Decomposition, Progress, decompose, recall
from pipeline.svf.layer import SVFLinear
from pipeline.svf.narrow import narrowed
from pipeline.svf.rank import RankSpec
from pipeline.svf.targets import find_targets
from serve.errors import InputError, UsageError


class SVFit:
    """A model whose target layers are `SVFLinear`, and the adapters it holds.

    The model itself stays what it was (same class, same `forward`); this object adds, activates, saves, loads and
    folds adapters. Modules trained whole (the head) have one copy for each adapter, put in place on activation.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Mapping[str, SVFLinear],
        found: Decomposition,
        whole: Sequence[str],
        extra: Sequence[str],
        core: Core = DIAGONAL,
    ) -> None:
        self.model = model
        self.core = core
        self.layers = dict(layers)
        self.found = found
        self.basis: Basis = found.basis
        self.whole = tuple(whole)
        self._whole_parameters = tuple(
            self._plain(name)
            for name, _ in model.named_parameters()
            if any(name.startswith(f"{module}.") for module in whole) or self._plain(name) in set(extra)
        )
        self._initial = self._current_whole()
        self._saved: dict[str, dict[str, torch.Tensor]] = {}
        self.active: str | None = None
        self.folded: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._saved)

    def add(self, name: str = "default") -> None:
        """A new adapter that changes nothing yet, its whole modules as the model had them at wrapping."""
        if not name or "." in name:
            raise UsageError(f"adapter name {name!r}: use a name without dots")
        if name in self._saved:
            raise UsageError(f"adapter {name!r} exists already; there are: {', '.join(self.names)}")
        for layer in self.layers.values():
            layer.add(name)
        self._saved[name] = {key: value.clone() for key, value in self._initial.items()}
        self._freeze()

    def activate(self, name: str | None) -> None:
        """Make one adapter answer and train, or none: then the model is the base model."""
        if name is not None:
            self._known(name)
        if self.folded is not None and name != self.folded:
            raise UsageError(f"adapter {self.folded!r} is folded into the weights; unfold it first")
        self._keep_whole()
        self._put_whole(self._initial if name is None else self._saved[name])
        self.active = name
        for layer in self.layers.values():
            layer.active = name
        self._freeze()

    def restrict(self, name: str, kept: Mapping[str, Sequence[int]]) -> None:
        """Let an adapter move only these directions of each layer (none of a layer that isn't named).

        The others are set to 0 and their gradients too, so they stay there under any optimizer without decay. Of a
        core that mixes directions, what lies between one that is kept and one that isn't counts as not kept.
        Raises `UsageError` for an unknown adapter, `InputError` for a layer or a direction that the basis lacks.
        """
        self._known(name)
        unknown = sorted(kept.keys() - self.layers.keys())
        if unknown:
            raise InputError(f"no layer {unknown[0]} in this basis; it has: {', '.join(list(self.layers)[:3])}, ...")
        for layer_name, layer in self.layers.items():
            places = list(kept.get(layer_name, ()))
            if any(not 0 <= place < layer.S.numel() for place in places):
                raise InputError(f"layer {layer_name}: its basis has rank {layer.S.numel()}, asked for {max(places)}")
            mask = _block(layer, places)
            delta = layer.delta[name]
            with torch.no_grad():
                delta.mul_(mask)
            delta.requires_grad_(True).register_hook(_masked(mask))
        self._freeze()

    def narrow(self, kept: Mapping[str, Sequence[int]]) -> None:
        """Keep only these of each layer's directions, by their places among the current ones; in place.

        Layers that aren't named (or without a place) become plain modules again. The basis, the factors and every
        adapter follow, what an adapter did elsewhere is gone; parameters are new ones, without gradients, and a
        restriction of theirs is to be made again. Raises, before anything changes, `UsageError` while an adapter is
        folded, where nothing would be left, for places that aren't strictly increasing, or for places of a banded core
        that aren't the first ones; `InputError` for a layer or a direction that the basis lacks.
        """
        if self.folded is not None:
            raise UsageError(f"adapter {self.folded!r} is folded into the weights; unfold it first")
        found = narrowed(self.found, kept, self.core)
        for name, layer in list(self.layers.items()):
            if name in found.basis.layers:
                layer.narrow(kept[name])
            else:
                _replace(self.model, name, self.layers.pop(name).base)
        self.found, self.basis = found, found.basis

    def trainable(self) -> dict[str, list[tuple[str, nn.Parameter]]]:
        """The active adapter's parameters: `adapter` (singular values) and `head` (whole modules), by name."""
        if self.active is None:
            return {"adapter": [], "head": []}
        whole = set(self._whole_parameters)
        return {
            "adapter": [(name, layer.delta[self.active]) for name, layer in self.layers.items()],
            "head": [(name, value) for name, value in self.model.named_parameters() if self._plain(name) in whole],
        }

    def export(self, name: str, card: Mapping[str, Any] | None = None) -> Adapter:
        """The adapter as an artefact, on the CPU in float32."""
        self._known(name)
        self._keep_whole()
        return Adapter(
            self.basis,
            {key: _copy(layer.delta[name]) for key, layer in self.layers.items()},
            {key: _copy(layer.S) for key, layer in self.layers.items()},
            {key: _copy(value) for key, value in self._saved[name].items()},
            dict(card or {}),
            self.core,
        )

    def save(self, folder: Path, name: str, card: Mapping[str, Any] | None = None) -> None:
        """Write `adapter.safetensors` and `adapter.json` into an existing folder."""
        self.export(name, card).save(folder)

    def load(self, source: Path | Adapter, name: str) -> Adapter:
        """Add a saved adapter. Raises `InputError` where it was trained on another basis or core, naming both."""
        adapter = source if isinstance(source, Adapter) else Adapter.load(source)
        if adapter.basis.id != self.basis.id:
            raise InputError(
                f"adapter {name!r} was trained on basis {adapter.basis.id}, this model has basis {self.basis.id}; "
                "an adapter only applies to its own basis (base weights, targets, ranks and SVD alike)"
            )
        if adapter.core != self.core:
            raise InputError(
                f"adapter {name!r} has a core {adapter.core}, this model was wrapped for a core {self.core}; "
                "wrap it with the adapter's"
            )
        if set(adapter.modules) != set(self._whole_parameters):
            raise InputError(f"adapter {name!r}: its whole modules are not those of this model")
        for key, value in adapter.modules.items():
            if value.shape != self._initial[key].shape:
                raise InputError(
                    f"adapter {name!r}: {key} has shape {tuple(value.shape)}, "
                    f"this model's is {tuple(self._initial[key].shape)}"
                )
        self.add(name)
        with torch.no_grad():
            for key, layer in self.layers.items():
                layer.delta[name].copy_(adapter.delta[key])
        self._saved[name] = {
            key: value.to(self._initial[key].dtype).to(self._initial[key].device)
            for key, value in adapter.modules.items()
        }
        return adapter

    def fold(self, name: str) -> None:
        """Write an adapter into the weights (it becomes active). Folding the folded one again changes nothing.

        Raises `InputError` for values that are not finite or don't fit the weights' dtype; then no layer is folded.
        """
        self._known(name)
        if self.folded == name:
            return
        if self.folded is not None:
            raise UsageError(f"adapter {self.folded!r} is folded into the weights; unfold it first")
        self.activate(name)
        for key, value in self._current_whole().items():
            if not bool(torch.isfinite(value).all()):
                raise InputError(f"adapter {name!r}: {key} holds NaN or infinity; it can't be folded")
        for key, layer in self.layers.items():
            try:
                layer.fold(name)
            except InputError as error:
                self.unfold()
                raise InputError(f"adapter {name!r}: layer {key}: {error}") from None
        self.folded = name

    def unfold(self) -> None:
        """Restore the base weights bit for bit."""
        for layer in self.layers.values():
            layer.unfold()
        self.folded = None

    def merged(self) -> nn.Module:
        """Take the layers out again: the plain model with the folded weights. This object is spent afterwards."""
        if self.folded is None:
            raise UsageError("no adapter is folded; call fold(name) first")
        for name, layer in self.layers.items():
            _replace(self.model, name, layer.base)
        for parameter in self.model.parameters():
            parameter.requires_grad_(True)
        return self.model

    def _plain(self, name: str) -> str:
        """A parameter's name without the wrapping: `x.query.base.bias` is the model's `x.query.bias`."""
        layer, _, leaf = name.rpartition(".base.")
        return f"{layer}.{leaf}" if layer in self.layers else name

    def _known(self, name: str) -> None:
        if name not in self._saved:
            raise UsageError(f"no adapter {name!r}; there are: {', '.join(self.names) or 'none'}")

    def _freeze(self) -> None:
        wanted = {id(value) for group in self.trainable().values() for _, value in group}
        for parameter in self.model.parameters():
            parameter.requires_grad_(id(parameter) in wanted)

    def _current_whole(self) -> dict[str, torch.Tensor]:
        names = set(self._whole_parameters)
        return {
            self._plain(name): value.detach().clone()
            for name, value in self.model.named_parameters()
            if self._plain(name) in names
        }

    def _keep_whole(self) -> None:
        if self.active is not None:
            self._saved[self.active] = self._current_whole()

    def _put_whole(self, values: Mapping[str, torch.Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                if self._plain(name) in values:
                    parameter.copy_(values[self._plain(name)])


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
) -> SVFit:
    """Put SVFit layers in place of a model's target layers and freeze the rest.

    `whole` names the modules trained whole (default: what lies outside the base model, the head). With `basis` that
    very basis is taken from the store (or from `factors`, which may be zero in directions that nobody moves), else it
    is computed (or found) at `rank`; or, with `directions`, of just those singular triplets of each layer: one without
    any stays plain. `core` says what an adapter may do on its directions. Raises `UsageError` for targets that match
    nothing or are tied, directions that a layer lacks, or a model that is wrapped already; `InputError` where the
    model's weights aren't those of `basis`.
    """
    if any(isinstance(module, SVFLinear) for module in model.modules()):
        raise UsageError("the model is wrapped already; add another adapter to the SVFit that holds it")
    heads = head_modules(model) if whole is None else list(whole)
    missing = [name for name in heads if name not in dict(model.named_modules())]
    if missing:
        raise UsageError(f"adapter.head_modules: the model has no module {missing[0]!r}")
    store = store or FactorStore()
    if basis is None:
        chosen = None if directions is None else {name: places for name, places in directions.items() if places}
        found = decompose(find_targets(model, targets, heads), rank, store, progress, chosen)
    else:
        found = recall(model, basis, store if factors is None else factors)
    extra = _extra_parameters(model, train_bias, train_layernorm)
    layers: dict[str, SVFLinear] = {}
    for name in found.basis.layers:
        module = model.get_submodule(name)
        layers[name] = SVFLinear(module, found.factors[name], complete=factors is None, core=core)
        _replace(model, name, layers[name])
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


def _block(layer: SVFLinear, places: Sequence[int]) -> torch.Tensor:
    """1 where a value of the layer's core only joins directions at `places`, else 0; of the values' shape."""
    kept = torch.zeros_like(layer.S, dtype=torch.float32)
    kept[list(places)] = 1.0
    rows = (kept.unsqueeze(1) if layer.core.kind == "dense" else kept).expand(layer.core.shape(kept.numel()))
    return rows * layer.core.transposed(rows)


def _masked(mask: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda gradient: gradient * mask.to(gradient.device)


def _copy(value: torch.Tensor) -> torch.Tensor:
    return value.detach().float().cpu().clone()


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent) if parent else model, leaf, module)
