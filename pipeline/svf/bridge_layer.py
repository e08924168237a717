"""svfit's own layer with the methods that PEFT expects of one."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, cast

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from export.basis import Factors
from export.core import DIAGONAL, Core
from pipeline.svf.layer import SVFLinear
from serve.errors import UsageError

PREFIX = "svfit_"


class SVFitLayer(SVFLinear, BaseTunerLayer):  # type: ignore[misc]  # peft has no types
    """`SVFLinear` under PEFT's names: `base_layer` for the frozen map, `svfit_delta` for the adapters.

    One adapter is active at a time, as in `pipeline.svf`. A fold is undone bit for bit.
    """

    adapter_layer_names = ("svfit_delta",)
    other_param_names = ()

    def __init__(self, base_layer: nn.Module, factors: Factors, active: Sequence[str], core: Core = DIAGONAL) -> None:
        super().__init__(base_layer, factors, core=core)
        del self.base
        self.base_layer, self.svfit_delta = base_layer, cast(nn.ParameterDict, self._modules.pop("delta"))
        self._disable_adapters = False
        self.merged_adapters: list[str] = []
        self._active_adapter: str | list[str] = list(active)

    def __getattr__(self, name: str) -> Any:
        """svfit's own names for what PEFT names otherwise."""
        if name in ("base", "delta"):
            return super().__getattr__("base_layer" if name == "base" else "svfit_delta")
        return super().__getattr__(name)

    def set_adapter(self, adapter_names: str | list[str], inference_mode: bool = False) -> None:
        """Make one adapter answer, or none for an empty list; it trains unless `inference_mode`.

        Raises `UsageError` for several at once.
        """
        names = [adapter_names] if isinstance(adapter_names, str) else list(adapter_names)
        refuse_several(names)
        super().set_adapter(names, inference_mode=inference_mode)
        self.active = next((name for name in names if name in self.svfit_delta), None)

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Fold the active (or the named) adapter into the weight; doing so again changes nothing.

        Always as PEFT's `safe_merge`: raises `InputError` for values that are not finite, with the weight as it was.
        Raises `UsageError` for several adapters, or where another is folded.
        """
        names = self.active_adapters if adapter_names is None else adapter_names
        refuse_several(names)
        for name in names:
            if name not in self.svfit_delta or self.folded == name:
                continue
            if self.folded is not None:
                raise UsageError(f"adapter {self.folded!r} is merged already; unmerge it before merging {name!r}")
            self.fold(name)
            self.merged_adapters = [name]

    def unmerge(self) -> None:
        """Put back the very weight that `merge` found."""
        if not self.merged_adapters:
            warnings.warn("Already unmerged. Nothing to do.", stacklevel=2)
            return
        self.unfold()
        self.merged_adapters = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`x (..., in)` to `(..., out)`; with adapters disabled what the base gives (a merged one is unmerged)."""
        if not self._disable_adapters:
            return super().forward(x)
        if self.merged_adapters:
            self.unmerge()
        return self.base_layer(x)  # type: ignore[no-any-return]

    def _move_adapter_to_device_of_base_layer(self, adapter_name: str, device: torch.device | None = None) -> None:
        """To the device alone: PEFT would cast to the base's dtype too, and `delta` stays float32."""
        value = self.svfit_delta[adapter_name]
        if value.device.type != "meta":
            value.data = value.data.to(device or self.weight.device)


def refuse_several(names: Sequence[str]) -> None:
    """Raises `UsageError` where more than one adapter would answer at once."""
    if len(names) > 1:
        raise UsageError(
            f"SVFit answers with one adapter at a time (got {', '.join(names)}): each has a head of its own; "
            "activate one with set_adapter"
        )
