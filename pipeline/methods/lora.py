"""The rivals of `peft`: LoRA (arXiv 2106.09685) and PiSSA (arXiv 2404.02948), on the layers that SVFit would scale."""

from __future__ import annotations

import re
import warnings
from typing import Any

from peft import LoraConfig, inject_adapter_in_model

from pipeline.methods.method import Parameters, Targets, head_of
from pipeline.model.load import Loaded
from pipeline.svf.targets import find_targets


def prepare(loaded: Loaded, rank: int, init: bool | str, targets: Targets = "all-linear") -> Parameters:
    """`rank` for every layer; `alpha = 2 rank` for LoRA, as is usual, and `rank` for PiSSA, as its authors have it."""
    names = find_targets(loaded.model, targets, loaded.whole)
    config = LoraConfig(
        r=rank,
        lora_alpha=2 * rank if init is True else rank,
        lora_dropout=0.0,
        target_modules=f"({'|'.join(re.escape(name) for name in names)})",  # a list would match endings of names too
        init_lora_weights=init,  # type: ignore[arg-type]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft on names of adapters that it won't save here, and on Conv1D's layout
        model: Any = inject_adapter_in_model(config, loaded.model)
    adapter = [(name, value) for name, value in model.named_parameters() if ".lora_" in name]
    return Parameters(model, adapter, head_of(model, loaded.whole))
