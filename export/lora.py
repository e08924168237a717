"""An adapter as a LoRA adapter that stock PEFT loads: `A = Vh`, `B = U C`, the same map exactly."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from export.adapter import Adapter
from export.basis import Factors
from export.core import Core
from export.fold import turned
from export.store import FactorStore
from serve.errors import InputError
from serve.files import write_bytes, write_json

TASKS = ("text-classification", "text-regression")
PREFIX = "base_model.model."
HEADS = ("classifier", "score")  # what PEFT itself trains whole for a sequence classifier


def to_lora(adapter: Adapter, store: FactorStore, folder: Path, *, conv1d: bool = False) -> dict[str, Any]:
    """Write `adapter_model.safetensors`, `adapter_config.json` and `README.md` into an existing folder.

    Directions that its core takes nothing from are left out, and layers without any other. `conv1d` says that the
    layers are transformers' `Conv1D` (GPT-2), which PEFT wants to be told. Gives the layers, ranks, values and bytes
    written. Raises `InputError` for trained parameters that LoRA's format can't carry, or factors that the store lacks.
    """
    task = adapter.card.get("task", TASKS[0])
    if task not in TASKS:
        raise InputError(f"the adapter is for {task}; as LoRA only {' and '.join(TASKS)} are written")
    whole = _whole_modules(adapter)
    tensors: dict[str, torch.Tensor] = {}
    ranks: dict[str, int] = {}
    for name, factors in store.load(adapter.basis):
        moved = _moved(factors, adapter.delta[name], adapter.core)
        if moved is not None:
            ranks[name] = moved[0].shape[0]
            tensors[f"{PREFIX}{name}.lora_A.weight"], tensors[f"{PREFIX}{name}.lora_B.weight"] = moved
    if not ranks:
        raise InputError("the adapter moved no singular direction at all; there is nothing to write as LoRA")
    values = sum(tensor.numel() for tensor in tensors.values())
    tensors |= {f"{PREFIX}{name}": value.float() for name, value in adapter.modules.items()}
    ready = {name: value.contiguous() for name, value in sorted(tensors.items())}
    save_file(ready, str(folder / "adapter_model.safetensors"), metadata={"format": "pt"})
    write_json(folder / "adapter_config.json", _config(adapter, ranks, whole, conv1d))
    write_bytes(folder / "README.md", _readme(adapter).encode())
    return {
        "basis_id": adapter.basis.id,
        **adapter.core.to_dict(),
        "layers": len(ranks),
        "ranks": ranks,
        "adapter_values": adapter.size,
        "lora_values": values,
        "modules_to_save": whole,
        "bytes": (folder / "adapter_model.safetensors").stat().st_size,
    }


def stores_transposed(model_folder: Path) -> bool:
    """Whether a model's linear layers are transformers' `Conv1D`, from its configuration alone (no weights are read).

    Raises what transformers raises for a folder that it can't read.
    """
    from transformers import AutoConfig, AutoModel
    from transformers.pytorch_utils import Conv1D

    with torch.device("meta"):
        model = AutoModel.from_config(AutoConfig.from_pretrained(model_folder))
    return any(type(module) is Conv1D for module in model.modules())


def _moved(factors: Factors, values: torch.Tensor, core: Core) -> tuple[torch.Tensor, torch.Tensor] | None:
    """`A (k, in)` and `B (out, k)` of the `k` directions that `C` takes something from, float32; None without any."""
    B = turned(factors, values, core)
    kept = torch.nonzero(B.any(dim=0)).flatten()
    return (factors.Vh[kept], B[:, kept].float()) if kept.numel() else None


def _whole_modules(adapter: Adapter) -> list[str]:
    """PEFT's `modules_to_save`: the modules that own the parameters trained whole."""
    named = adapter.card.get("whole_modules")
    heads = [str(name) for name in named] if isinstance(named, list | tuple) else _heads(adapter)
    found: dict[str, list[str]] = {}
    for parameter in adapter.modules:
        leaf, _, kind = parameter.rpartition(".")
        owner = next((head for head in heads if leaf == head or leaf.startswith(f"{head}.")), leaf)
        found.setdefault(owner, []).append(kind)
    for owner, kinds in found.items():
        if owner in adapter.basis.layers or "weight" not in kinds:
            raise InputError(
                f"{owner}.bias was trained by itself, which LoRA's format can't carry exactly (PEFT would overwrite "
                "the base's biases, also for every other adapter); train with adapter.train_bias = false, or merge"
            )
    return sorted(found)


def _heads(adapter: Adapter) -> list[str]:
    """Top-level modules without a layer of the basis, for a card that doesn't name its whole modules."""
    inside = {name.partition(".")[0] for name in adapter.basis.layers}
    return sorted({name.partition(".")[0] for name in adapter.modules} - inside)


def _config(adapter: Adapter, ranks: Mapping[str, int], whole: list[str], conv1d: bool) -> dict[str, Any]:
    usual = Counter(ranks.values()).most_common(1)[0][0]
    others = {f"^{re.escape(name)}": rank for name, rank in ranks.items() if rank != usual}
    return {
        "peft_type": "LORA",
        "task_type": "SEQ_CLS" if any(name in HEADS for name in whole) else None,
        "base_model_name_or_path": _base_name(adapter),
        "r": usual,
        "lora_alpha": usual,
        "rank_pattern": others,
        "alpha_pattern": others,
        "target_modules": list(ranks),
        "modules_to_save": whole or None,
        "fan_in_fan_out": conv1d,
        "bias": "none",
        "lora_dropout": 0.0,
        "inference_mode": True,
    }


def _base_name(adapter: Adapter) -> str | None:
    base = adapter.card.get("base")
    name = base.get("name") if isinstance(base, Mapping) else base
    return str(name) if name else None


def _readme(adapter: Adapter) -> str:
    card, base = adapter.card, _base_name(adapter) or "MODEL"
    labels = list(card.get("labels") or [])
    lines = ["---", "library_name: peft", "tags: [svfit, lora]", "---", "", f"# {card.get('name') or 'adapter'}", ""]
    lines += [
        f"A LoRA adapter that holds an SVFit adapter exactly (`A = Vh`, `B = U C`, core {adapter.core}, scaling 1).",
        f"Base model: `{base}`. Basis: `{adapter.basis.id}`.",
        "",
    ]
    if labels:
        lines += [f"Labels, in the order of the outputs: {', '.join(map(str, labels))}.", ""]
    if card.get("pooling") in ("mean", "cls"):
        lines += [
            f"The base is svfit's `PooledClassifier` ({card['pooling']} pooling), so load it with svfit:",
            "",
            "```python",
            "from peft import PeftModel",
            "from pipeline.model.load import load",
            "from pipeline.model.source import resolve",
            "",
            f"base = load(resolve({base!r}), {labels!r}, pooling={card['pooling']!r}).model",
        ]
    else:
        lines += [
            "```python",
            "from peft import PeftModel",
            "from transformers import AutoModelForSequenceClassification",
            "",
            f"base = AutoModelForSequenceClassification.from_pretrained({base!r}, num_labels={max(1, len(labels))})",
        ]
    return "\n".join([*lines, 'model = PeftModel.from_pretrained(base, "THIS_FOLDER").eval()', "```", ""])
