"""A model wrapped with SVFit layers: several named adapters on one basis."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from export.adapter import Adapter
from export.basis import Basis
from export.core import DIAGONAL, Core
from pipeline.svf.decompose import Decomposition
from pipeline.svf.layer import SVFLinear
from pipeline.svf.narrow import narrowed, refuse_unknown
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
        self.found = replace(found, factors={})
        """What finding the basis told. Its factors are in the layers alone, wherever the model moves."""
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
    def size(self) -> int:
        """Trained values of an adapter's core."""
        return sum(self.core.count(layer.rank) for layer in self.basis.layers.values())

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
        refuse_unknown(self.basis, kept)
        for layer_name, layer in self.layers.items():
            mask = _block(layer, kept.get(layer_name, ()))
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
        whole = replace(self.found, factors={name: layer.factors for name, layer in self.layers.items()})
        found = narrowed(whole, kept, self.core)
        for name, layer in list(self.layers.items()):
            if name in found.basis.layers:
                layer.narrow(kept[name], found.factors[name])
            else:
                self.model.set_submodule(name, self.layers.pop(name).base)
        self.found, self.basis = replace(found, factors={}), found.basis

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
            self.model.set_submodule(name, layer.base)
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
