"""An adapter on disk: `adapter.safetensors` and `adapter.json`, nothing else.

Tensors: `delta.<layer>` the values of the core (of a diagonal one `(r,)`, what training added to each singular value),
`sigma.<layer> (r,)` what each singular value was, and `module.<parameter>` for every parameter trained whole (the
head, and biases or LayerNorm when asked).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from export.basis import Basis
from export.core import DIAGONAL, Core
from serve.adapters.adapter import FORMAT, FORMAT_VERSION
from serve.errors import InputError
from serve.files import write_json

MAX_CARD_BYTES = 16 * 2**20
MAX_TENSOR_BYTES = 2 * 2**30


@dataclass(frozen=True)
class Adapter:
    """One task: by layer `delta` of `core.shape(r)` and `sigma (r,)`, float32; whole parameters by name; a card."""

    basis: Basis
    delta: Mapping[str, torch.Tensor]
    sigma: Mapping[str, torch.Tensor]
    modules: Mapping[str, torch.Tensor]
    card: Mapping[str, Any] = field(default_factory=dict)
    core: Core = DIAGONAL

    @property
    def size(self) -> int:
        """Trained values of the core; for a diagonal one the basis's `R`."""
        return sum(self.core.count(layer.rank) for layer in self.basis.layers.values())

    def save(self, folder: Path) -> None:
        """Write both files into an existing folder. The same adapter gives the same bytes.

        Raises `InputError`, writing nothing, for values that are not finite or not of its core.
        """
        tensors = {f"delta.{name}": value for name, value in self.delta.items()}
        tensors |= {f"sigma.{name}": value for name, value in self.sigma.items()}
        tensors |= {f"module.{name}": value for name, value in self.modules.items()}
        ready = {name: value.detach().cpu().float().contiguous() for name, value in sorted(tensors.items())}
        for name, value in ready.items():
            if not bool(torch.isfinite(value).all()):
                raise InputError(
                    f"adapter: {name} holds NaN or infinity: the training diverged; try a lower train.learning_rate"
                )
        self._check_values("adapter: ")
        save_file(ready, str(folder / "adapter.safetensors"))
        document = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "method": "svfit",
            **self.core.to_dict(),
            "basis_id": self.basis.id,
            "basis": self.basis.to_dict(),
            "card": dict(self.card),
        }
        write_json(folder / "adapter.json", document)

    @classmethod
    def load(cls, folder: Path) -> Adapter:
        """Read and check an adapter folder.

        Raises `InputError` for a missing file, another format, a `basis_id` that isn't its basis's, a core that is
        none, shapes of another core or rank, or values that are not finite.
        """
        document = read_card(folder)
        try:
            basis, core = Basis.from_dict(document.get("basis", {})), Core.from_dict(document)
        except InputError as error:
            raise InputError(f"{folder}: adapter.json: {error}") from None
        if basis.id != document.get("basis_id"):
            raise InputError(f"{folder}: adapter.json names basis {document.get('basis_id')}, but describes {basis.id}")
        path = folder / "adapter.safetensors"
        if path.stat().st_size > MAX_TENSOR_BYTES:
            raise InputError(f"{path}: larger than {MAX_TENSOR_BYTES} bytes, which no adapter is")
        try:
            tensors = load_file(path)
        except (SafetensorError, OSError) as error:
            raise InputError(f"{path}: not a readable safetensors file ({error})") from None
        groups: dict[str, dict[str, torch.Tensor]] = {"delta": {}, "sigma": {}, "module": {}}
        for key, value in tensors.items():
            kind, _, name = key.partition(".")
            if kind not in groups:
                raise InputError(f"{path}: unknown tensor {key}; known prefixes: delta, sigma, module")
            if value.dtype != torch.float32:
                raise InputError(f"{path}: {key} is {value.dtype}, an adapter is float32 throughout")
            if not bool(torch.isfinite(value).all()):
                raise InputError(f"{path}: {key} holds NaN or infinity")
            groups[kind][name] = value
        for kind in ("delta", "sigma"):
            if groups[kind].keys() != basis.layers.keys():
                raise InputError(f"{path}: the {kind} layers are not those of its basis")
        ordered = {kind: {name: groups[kind][name] for name in basis.layers} for kind in ("delta", "sigma")}
        card = document.get("card", {})
        found = cls(basis, ordered["delta"], ordered["sigma"], groups["module"], card, core)
        found._check_values(f"{path}: ")
        return found

    def _check_values(self, where: str) -> None:
        for name, layer in self.basis.layers.items():
            self.core.check(self.delta[name], layer.rank, f"{where}delta.{name}")
            DIAGONAL.check(self.sigma[name], layer.rank, f"{where}sigma.{name}")


def read_card(folder: Path) -> dict[str, Any]:
    """`adapter.json` as a dict. Raises `InputError` where it is missing, too large, malformed or of another format."""
    path = folder / "adapter.json"
    if not path.is_file() or not (folder / "adapter.safetensors").is_file():
        raise InputError(f"{folder}: not an adapter folder (needs adapter.json and adapter.safetensors)")
    if path.stat().st_size > MAX_CARD_BYTES:
        raise InputError(f"{path}: larger than {MAX_CARD_BYTES} bytes")
    try:
        document = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON ({error})") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise InputError(f"{path}: not an svfit adapter (format is not {FORMAT!r})")
    if document.get("format_version") != FORMAT_VERSION:
        raise InputError(f"{path}: adapter format {document.get('format_version')}, this svfit reads {FORMAT_VERSION}")
    if not isinstance(document.get("card", {}), dict):
        raise InputError(f"{path}: its card is no table")
    return document
