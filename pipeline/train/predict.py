"""What a model answers to rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pipeline.train.learning import Learning, TrainRows, inputs_of
from pipeline.train.rows import IGNORED

BATCH = 32


def outputs(model: nn.Module, learning: Learning, rows: TrainRows) -> NDArray[np.float32]:
    """`(rows, width)` of at least one row, in the rows' order; where each token has an output `(rows, longest row,
    width)`, with `IGNORED` beyond a batch's longest row, as transformers has it.

    On the device that the model is on, in evaluation mode, and back to the mode it was in.
    """
    training, device = model.training, next(model.parameters()).device
    order = sorted(range(len(rows)), key=rows.length)
    parts: list[NDArray[np.float32]] = []
    model.eval()
    try:
        with torch.no_grad():
            for start in range(0, len(order), BATCH):
                batch = inputs_of(learning, rows, order[start : start + BATCH])
                answer: Any = model(**{key: value.to(device) for key, value in batch.items()})
                parts.append(getattr(answer, learning.output).float().cpu().numpy())
    finally:
        model.train(training)
    if parts[0].ndim == 3:
        longest = parts[-1].shape[1]
        parts = [
            np.pad(part, ((0, 0), (0, longest - part.shape[1]), (0, 0)), constant_values=IGNORED) for part in parts
        ]
    found = np.empty_like(joined := np.concatenate(parts))
    found[order] = joined
    return found


def labels(learning: Learning, rows: TrainRows) -> NDArray[Any]:
    """What `outputs` is measured against: `(rows, ...)`, padded alike."""
    every: NDArray[Any] = learning.collate([rows[row] for row in range(len(rows))])["labels"].numpy()
    return every
