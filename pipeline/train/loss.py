"""What a training minimizes."""

from __future__ import annotations

import torch
from torch.nn import functional


def losses(
    logits: torch.Tensor, labels: torch.Tensor, *, weight: torch.Tensor | None = None, smoothing: float = 0.0
) -> torch.Tensor:
    """The loss of each row, float32.

    Cross entropy for classes (int64 labels), `weight (classes,)` and label `smoothing` with it; the squared difference
    for numbers (float labels).
    """
    logits = logits.float()
    if labels.dtype.is_floating_point:
        return (logits.squeeze(-1) - labels) ** 2
    return functional.cross_entropy(logits, labels, weight=weight, label_smoothing=smoothing, reduction="none")
