"""What a model answers to rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import PreTrainedTokenizerBase

from pipeline.train.metrics import TOKENS
from pipeline.train.rows import IGNORED, Collator, Rows

BATCH = 32


def logits(model: nn.Module, tokenizer: PreTrainedTokenizerBase, task: str, rows: Rows) -> NDArray[np.float32]:
    """`(rows, outputs)` of at least one row, in the rows' order; for a class a token `(rows, longest row, outputs)`,
    with `IGNORED` beyond a batch's longest row, as transformers has it.

    On the device that the model is on, in evaluation mode, and back to the mode it was in.
    """
    collate, training = Collator(tokenizer, task), model.training
    device = next(model.parameters()).device
    order = sorted(range(len(rows)), key=lambda row: len(rows.encoded[row]["input_ids"]))
    parts: list[NDArray[np.float32]] = []
    model.eval()
    try:
        with torch.no_grad():
            for start in range(0, len(order), BATCH):
                batch = collate([rows[row] for row in order[start : start + BATCH]])
                batch.pop("labels")
                answer: Any = model(**{key: value.to(device) for key, value in batch.items()})
                parts.append(answer.logits.float().cpu().numpy())
    finally:
        model.train(training)
    if task == TOKENS:
        longest = parts[-1].shape[1]
        parts = [
            np.pad(part, ((0, 0), (0, longest - part.shape[1]), (0, 0)), constant_values=IGNORED) for part in parts
        ]
    found = np.empty_like(joined := np.concatenate(parts))
    found[order] = joined
    return found


def labels(tokenizer: PreTrainedTokenizerBase, task: str, rows: Rows) -> NDArray[Any]:
    """What `logits` is measured against: `(rows,)`; `(rows, longest row)`, padded alike, for a class a token."""
    every: NDArray[Any] = Collator(tokenizer, task)([rows[row] for row in range(len(rows))])["labels"].numpy()
    return every
