"""A process of several that train one tiny adapter; the first tells how far it is from a training alone.

python -m torch.distributed.run --nproc_per_node 2 sharded_training.py ddp|fsdp STORE
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import BertConfig, BertForSequenceClassification

from export.store import FactorStore
from pipeline.svf import SVFit, wrap

IDS = torch.tensor([[2, 5, 6, 7], [2, 8, 3, 4], [2, 9, 1, 3], [2, 11, 12, 3]])
LABELS = torch.tensor([0, 1, 1, 0])


def made(store: FactorStore) -> SVFit:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=20,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    svfit = wrap(BertForSequenceClassification(config), store=store)
    svfit.add("a")
    svfit.activate("a")
    return svfit


def trainable(model: nn.Module) -> list[nn.Parameter]:
    return [value for value in model.parameters() if value.requires_grad]


def loss(model: nn.Module, rows: slice) -> torch.Tensor:
    return nn.functional.cross_entropy(model(input_ids=IDS[rows]).logits, LABELS[rows])


def main(mode: str, folder: Path) -> None:
    from accelerate import Accelerator  # type: ignore[import-untyped]

    accelerator = Accelerator(cpu=True)
    place = accelerator.process_index
    store = FactorStore(folder / str(place))
    alone = made(store).model.train()
    optimizer = torch.optim.SGD(trainable(alone), lr=0.5)
    for _ in range(2):
        optimizer.zero_grad()
        loss(alone, slice(None)).backward()
        optimizer.step()
    wanted = {name: value.detach() for name, value in alone.named_parameters() if value.requires_grad}

    model: Any = made(store).model.train()
    if mode == "fsdp":  # on a CPU accelerate takes DDP whatever one asks for, so by torch's own hand
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh("cpu", (2,))
        for layer in model.bert.encoder.layer:
            fully_shard(layer, mesh=mesh)
        fully_shard(model, mesh=mesh)
        optimizer = torch.optim.SGD(trainable(model), lr=0.5)
    else:
        model, optimizer = accelerator.prepare(model, torch.optim.SGD(trainable(model), lr=0.5))
    for _ in range(2):
        optimizer.zero_grad()
        accelerator.backward(loss(model, slice(2 * place, 2 * place + 2)))
        optimizer.step()
    found = dict((model if mode == "fsdp" else accelerator.unwrap_model(model)).named_parameters())
    whole = {name: found[name].full_tensor() if mode == "fsdp" else found[name] for name in wanted}
    if place == 0:
        farthest = max(float((whole[name].detach() - value).abs().max()) for name, value in wanted.items())
        moved = max(float(value.abs().max()) for name, value in wanted.items() if ".delta." in name)
        sys.stdout.write(f"{farthest} {moved}\n")
        sys.stdout.flush()
    accelerator.wait_for_everyone()
    os._exit(
        0
    )  # torch 2.13 may wait for ever where it takes Gloo down: its thread wants the GIL of the one that joins it


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
