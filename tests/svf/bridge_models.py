"""Tiny models of four kinds, and inputs for them."""

from __future__ import annotations

from typing import Any

import torch
import transformers
from torch import nn

from pipeline.model.pooled import PooledClassifier

SMALL: dict[str, Any] = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 40,
    "num_labels": 3,
    "pad_token_id": 1,
}
GPT2: dict[str, Any] = {"vocab_size": 50, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 40, "num_labels": 3}
MARKS: dict[str, Any] = {"bos_token_id": 2, "eos_token_id": 2}
PEFTS_OWN = "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
"""PEFT 0.21 asks transformers 5 for an attribute by its old name."""


def tiny(kind: str, seed: int = 0) -> Any:
    """A random model in evaluation mode, the same for the same seed."""
    torch.manual_seed(seed)
    if kind == "pooled":
        config = transformers.BertConfig(**SMALL)
        config.svfit_pooling, config.svfit_dropout = "mean", 0.1
        model: nn.Module = PooledClassifier(config)
    elif kind == "gpt2":
        model = transformers.GPT2ForSequenceClassification(transformers.GPT2Config(**GPT2, **MARKS, pad_token_id=1))
    elif kind == "llama":
        sizes = transformers.LlamaConfig(**SMALL, **MARKS, num_key_value_heads=1)
        model = transformers.LlamaForSequenceClassification(sizes)
    elif kind == "roberta":
        model = transformers.RobertaForSequenceClassification(transformers.RobertaConfig(**SMALL, **MARKS))
    else:
        model = transformers.BertForSequenceClassification(transformers.BertConfig(**SMALL))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


def inputs(seed: int = 1) -> dict[str, torch.Tensor]:
    """Three rows of seven tokens, one of them padded."""
    draw = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, 50, (3, 7), generator=draw)
    mask = torch.ones_like(ids)
    ids[2, 4:], mask[2, 4:] = 1, 0
    return {"input_ids": ids, "attention_mask": mask}


@torch.no_grad()
def logits(model: Any, **extra: Any) -> torch.Tensor:
    """The outputs for `inputs()`, `(3, 3)`."""
    answer: torch.Tensor = model(**inputs(), **extra).logits
    return answer


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether two outputs agree to 1e-5 of their size, in float32: a few roundings, nothing more."""
    return float((a - b).abs().max()) <= 1e-5 * float(b.abs().max())
