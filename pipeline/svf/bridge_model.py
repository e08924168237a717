"""SVFit as a PEFT tuner: finds the basis, puts the layers in, merges and unloads them."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, cast

import torch
from peft import PeftConfig
from peft.tuners.tuners_utils import BaseTuner
from peft.utils.other import AuxiliaryTrainingWrapper
from torch import nn

from export.basis import Basis, Factors
from export.core import DIAGONAL, Core
from export.store import FactorStore
from pipeline.svf.bridge_layer import PREFIX, SVFitLayer, refuse_several
from pipeline.svf.decompose import Decomposition, decompose, recall
from pipeline.svf.inject import head_modules
from pipeline.svf.rank import refuse_whole_weights
from pipeline.svf.targets import find_targets
from serve.errors import InputError, UsageError

if TYPE_CHECKING:
    from pipeline.svf.bridge import SVFitConfig

BASIS_KEY = "base_model.model.svfit_basis_id"
ID_BYTES = 32


class SVFitModel(BaseTuner):
    """All adapters of a model share one basis and one core; factors come from svfit's own store (`SVFIT_CACHE`)."""

    uses_shared_state = True  # the basis: PEFT then refuses injection without a PeftModel, where nothing guards it
    prefix = PREFIX
    tuner_layer_cls = SVFitLayer
    target_module_mapping: dict[str, list[str]] = {}  # noqa: RUF012
    basis: Basis | None = None
    core: Core = DIAGONAL
    _factors: Mapping[str, Factors] = {}

    def _prepare_adapter_config(self, peft_config: PeftConfig, model_config: dict[str, Any]) -> PeftConfig:
        """Find the adapter's basis, or take the one that it was saved with.

        Raises `InputError` where that isn't the model's, `UsageError` where it or the core isn't that of the other
        adapters.
        """
        if self.basis is None and self._layers():
            raise UsageError(
                "this model has SVFit layers already; use add_adapter on its PeftModel, or unload() it first"
            )
        if any(layer.merged_adapters for layer in self._layers()):
            raise UsageError("an adapter is merged into the weights; call unmerge_adapter() before adding another")
        core = _core(peft_config)
        if self.basis is not None and core != self.core:
            raise UsageError(f"this model's adapters have the core {self.core}, the new one {core}; all share one")
        with _bare(self.model):
            found = self._find(cast("SVFitConfig", peft_config))
        if self.basis is not None and found.basis.id != self.basis.id:
            raise UsageError(
                f"this model's adapters stand on basis {self.basis.id}, the new one on {found.basis.id}; all adapters "
                "of a model share one: the same rank, target_modules and base weights, from one cache of factors"
            )
        own = cast("SVFitConfig", copy.copy(peft_config))  # the caller's may serve another model
        own.basis, own.basis_id = found.basis.to_dict(), found.basis.id
        own.target_modules = tuple(found.basis.layers)  # type: ignore[assignment]  # PEFT would shorten a list's names
        name = next(key for key, value in self.peft_config.items() if value is peft_config)
        self.peft_config[name] = own
        self.basis, self.core, self._factors = found.basis, core, found.factors
        return own

    def inject_adapter(self, *args: Any, **kwargs: Any) -> None:
        """As PEFT's; the factors stay in the layers alone."""
        try:
            super().inject_adapter(*args, **kwargs)
        finally:
            self._factors = {}

    def _find(self, config: SVFitConfig) -> Decomposition:
        model, store = self.model, FactorStore()
        if config.basis is not None:
            basis = Basis.from_dict(config.basis)
            if basis.id != config.basis_id:
                raise InputError(f"the adapter names basis {config.basis_id}, but describes {basis.id}")
            return recall(model, basis, store)
        wanted = config.modules_to_save or []
        whole = [name for name, _ in model.named_modules() if any(name.endswith(each) for each in wanted)]
        targets = find_targets(model, config.target_modules or "all-linear", [*whole, *head_modules(model)])
        found = decompose(targets, config.rank, store)
        refuse_whole_weights(found.basis.layers, _core(config))
        return found

    @staticmethod
    def _check_target_module_exists(peft_config: PeftConfig, key: str) -> bool:
        """Exactly the layers of the basis."""
        return key in (cast("SVFitConfig", peft_config).target_modules or ())

    def _create_and_replace(
        self,
        peft_config: PeftConfig,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
        parameter_name: str | None = None,
    ) -> None:
        layer = target
        if not isinstance(layer, SVFitLayer):
            layer = SVFitLayer(target, self._factors[current_key], self.active_adapters, self.core)
            self._replace_module(parent, target_name, layer, target)
        layer.add(adapter_name)

    def _replace_module(self, parent: nn.Module, child_name: str, new_module: nn.Module, child: nn.Module) -> None:
        """Put it there, nothing more: PEFT's own also copies `weight`, which a head of several layers hasn't."""
        setattr(parent, child_name, new_module)

    def set_adapter(self, adapter_name: str | list[str], inference_mode: bool = False) -> None:
        """Activate one adapter. Raises `UsageError` for several, or while another is merged, changing nothing."""
        names = [adapter_name] if isinstance(adapter_name, str) else adapter_name
        refuse_several(names)
        merged = {name for layer in self._layers() for name in layer.merged_adapters}
        if merged - set(names):
            raise UsageError(f"adapter {merged.pop()!r} is merged into the weights; call unmerge_adapter() first")
        super().set_adapter(adapter_name, inference_mode=inference_mode)

    def merge_adapter(self, adapter_names: list[str] | None = None, safe_merge: bool = False) -> None:
        """Fold the active (or the named) adapter into all layers, or, where that fails, into none.

        Raises `InputError` for values that are not finite, `UsageError` for several adapters or an unknown one.
        """
        names = self.active_adapters if adapter_names is None else adapter_names
        refuse_several(names)
        for name in names:
            if name not in self.peft_config:
                raise UsageError(f"no adapter {name!r}; there are: {', '.join(self.peft_config)}")
            for key, layer in self.model.named_modules():
                if isinstance(layer, SVFitLayer) and not bool(torch.isfinite(layer.svfit_delta[name]).all()):
                    raise InputError(f"adapter {name!r}: delta of {key} holds NaN or infinity; it can't be merged")
        before = [layer for layer in self._layers() if not layer.merged_adapters]
        try:
            super().merge_adapter(adapter_names=names, safe_merge=safe_merge)
        except Exception:
            for layer in before:
                if layer.merged_adapters:
                    layer.unmerge()
            raise

    def _unload_and_optionally_merge(  # type: ignore[override]  # peft says None and returns the model
        self,
        merge: bool = True,
        progressbar: bool = False,
        safe_merge: bool = False,
        adapter_names: list[str] | None = None,
    ) -> nn.Module:
        if merge:
            if adapter_names is not None and adapter_names != self.active_adapters:
                raise UsageError("merge_and_unload merges the active adapter with its head; call set_adapter first")
            self.merge_adapter(safe_merge=safe_merge)
        else:
            for layer in self._layers():
                if layer.merged_adapters:
                    layer.unmerge()
        super()._unload_and_optionally_merge(merge, progressbar, safe_merge)
        model: nn.Module = self.model
        return model

    def add_weighted_adapter(self, *_: Any, **__: Any) -> NoReturn:
        """Refused: the sum of two adapters would need a head that neither has."""
        raise UsageError("SVFit doesn't combine adapters: each has a head of its own, and heads can't be added")

    @contextmanager
    def _enable_peft_forward_hooks(self, *_: Any, **given: Any) -> Iterator[None]:
        """PEFT asks here what to do about its special arguments, and drops them where nobody answers."""
        for name in ("adapter_names", "alora_offsets"):
            if given.get(name) is not None:
                raise UsageError(
                    f"{name} is not for SVFit in PyTorch: all rows of a batch get the active adapter; "
                    "call set_adapter and answer each adapter's rows by themselves"
                )
        yield

    @classmethod
    def _get_adapter_state_dict(cls, *args: Any, **kwargs: Any) -> dict[str, torch.Tensor]:
        """What is saved: each `delta`, and what basis and core they are of, which they can't be parted from so."""
        found: dict[str, torch.Tensor] = super()._get_adapter_state_dict(*args, **kwargs)
        found[BASIS_KEY] = torch.tensor(list(_identity(kwargs["config"])), dtype=torch.uint8)
        return found

    @classmethod
    def _remap_adapter_state_dict_for_load(
        cls, model: nn.Module, config: PeftConfig, adapter_name: str, state_dict: dict[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """Also for weights read into an adapter that is there already, whose configuration PEFT doesn't read again."""
        saved = state_dict.pop(BASIS_KEY, None)
        if saved is None:
            raise InputError(f"adapter {adapter_name!r}: the weights name no basis ({BASIS_KEY} is missing)")
        trained, own = bytes(saved.tolist()), _identity(cast("SVFitConfig", config))
        if trained[:ID_BYTES] != own[:ID_BYTES]:
            raise InputError(
                f"adapter {adapter_name!r}: the weights were trained on basis {trained[:ID_BYTES].hex()},"
                f" not on {own[:ID_BYTES].hex()}"
            )
        if trained != own:
            raise InputError(f"adapter {adapter_name!r}: the weights are of another core than {_core(config)}")
        mapped: dict[str, torch.Tensor] = super()._remap_adapter_state_dict_for_load(
            model, config, adapter_name, state_dict
        )
        return mapped

    def _layers(self) -> list[SVFitLayer]:
        return [module for module in self.model.modules() if isinstance(module, SVFitLayer)]


def _core(config: PeftConfig) -> Core:
    own = cast("SVFitConfig", config)
    return Core(own.core, own.bands)


def _identity(config: SVFitConfig) -> bytes:
    """The basis's, and behind it a core that isn't diagonal."""
    core = _core(config)
    return bytes.fromhex(config.basis_id or "") + (b"" if core == DIAGONAL else f"{core.kind} {core.bands}".encode())


@contextmanager
def _bare(model: nn.Module) -> Iterator[None]:
    """While inside, the model has its own modules again, under their own names."""
    swapped: list[tuple[nn.Module, str, nn.Module]] = []
    outer: tuple[str, ...] = ()
    for name, module in list(model.named_modules()):
        if not isinstance(module, SVFitLayer | AuxiliaryTrainingWrapper) or name.startswith(outer):
            continue
        own = module.base_layer if isinstance(module, SVFitLayer) else module.original_module
        outer = (*outer, f"{name}.")
        parent, _, leaf = name.rpartition(".")
        swapped.append((model.get_submodule(parent), leaf, module))
        setattr(model.get_submodule(parent), leaf, own)
    try:
        yield
    finally:
        for owner, leaf, module in swapped:
            setattr(owner, leaf, module)
