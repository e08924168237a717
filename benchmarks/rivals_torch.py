"""The rival in PyTorch: one base model with a LoRA adapter for each task, by stock PEFT.

Imported by rivals_side.py, and by rivals_litserve.py in an environment of its own: nothing here needs onnxruntime.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from common import LABELS, Files
from numpy.typing import NDArray
from peft import LoraConfig, get_peft_model
from safetensors.numpy import load as load_tensors
from safetensors.numpy import load_file

from pipeline.model.load import load
from pipeline.model.source import resolve
from serve.bundle import Bundle
from serve.swap import SwapSpec
from serve.tokenize import TextTokenizer

RANK = 8  # PEFT's default


class PeftModels:
    """Tasks "task-0", "task-1", ... on the bundle's base model, each a LoRA adapter with a head of its own.

    Without `exact` the adapters are LoRA of rank 8 on the layers that the bundle adapts, their values random. With
    it they are the bundle's own adapters, of the rank that this takes, and must answer as the bundle does.
    """

    def __init__(self, bundle: Bundle, adapters: Iterable[Files], *, threads: int, exact: bool = False) -> None:
        torch.set_num_threads(threads)
        swap = bundle.manifest.swap
        assert swap is not None  # noqa: S101  (small_adapters refused it otherwise)
        self._tokenizer = TextTokenizer(bundle)
        base = load(resolve(bundle.manifest.base.name), LABELS, pooling=swap.heads[0].pooling or "auto").model.eval()
        weights = load_file(bundle.path / swap.weights) if exact else {}
        config = _config(swap, exact)
        self._active = ""
        self.tasks: list[str] = []
        for number, files in enumerate(adapters):
            name = f"task-{number}"
            if not self.tasks:
                self._model = get_peft_model(base, config, adapter_name=name)
            else:
                self._model.add_adapter(name, config)
            _fill(self._model, name, swap, load_tensors(files[1]), weights, number)
            self.tasks.append(name)
        self._model.eval()

    def split(self, texts: Sequence[str], tasks: Sequence[str]) -> list[NDArray[np.float32]]:
        """Logits for each row: a forward pass for each task's rows, `set_adapter` before it."""
        answers: list[NDArray[np.float32]] = [np.empty(0, np.float32)] * len(texts)
        for task in dict.fromkeys(tasks):
            places = [place for place, one in enumerate(tasks) if one == task]
            if task != self._active:
                self._model.set_adapter(task)
                self._active = task
            for place, row in zip(places, self._forward([texts[place] for place in places]), strict=True):
                answers[place] = row
        return answers

    def together(self, texts: Sequence[str], tasks: Sequence[str]) -> list[NDArray[np.float32]]:
        """Logits for each row from one forward pass, each row's adapter named to PEFT (`adapter_names`)."""
        return self._forward(texts, adapter_names=list(tasks))

    def _forward(self, texts: Sequence[str], **options: list[str]) -> list[NDArray[np.float32]]:
        feeds = {name: torch.from_numpy(value) for name, value in self._tokenizer(texts).items()}
        with torch.inference_mode():
            logits: NDArray[np.float32] = self._model(**feeds, **options).logits.numpy()
        return list(logits)


def _config(swap: SwapSpec, exact: bool) -> LoraConfig:
    layers = [layer for layer in swap.layers if layer.kept or not exact]
    ranks = {layer.name: max(1, len(layer.kept)) if exact else RANK for layer in layers}
    return LoraConfig(
        r=RANK,
        lora_alpha=RANK,
        rank_pattern=ranks,
        alpha_pattern=ranks,  # so that the scaling is 1
        target_modules=list(ranks),
        modules_to_save=["classifier"],
        lora_dropout=0.0,
    )


def _fill(
    model: torch.nn.Module,
    task: str,
    swap: SwapSpec,
    tensors: dict[str, NDArray[np.float32]],
    weights: dict[str, NDArray[np.float32]],
    seed: int,
) -> None:
    """Give an adapter its head, and its matrices: `A (rank, in)`, `B (out, rank)`."""
    modules = {name.removeprefix("base_model.model."): module for name, module in model.named_modules()}
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in swap.layers:
            if layer.name not in modules or not hasattr(modules[layer.name], "lora_A"):
                continue
            A, B = modules[layer.name].lora_A[task].weight, modules[layer.name].lora_B[task].weight
            if weights:
                down = weights[layer.down][:, layer.offset : layer.offset + len(layer.kept)]
                delta = tensors[f"delta.{layer.name}"][list(layer.kept)]
                A.copy_(torch.from_numpy(np.ascontiguousarray(down.T)))
                B.copy_(torch.from_numpy(np.ascontiguousarray((delta[:, None] * weights[layer.up]).T)))
            else:
                B.normal_(0.0, 0.02, generator=random)
        head = modules["classifier"].modules_to_save[task]
        for weight in swap.heads[0].weights:
            head.get_parameter(weight.name.rpartition(".")[2]).copy_(torch.from_numpy(tensors[f"module.{weight.name}"]))
