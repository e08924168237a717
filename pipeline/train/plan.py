"""How to train: plain values that the trainer takes, whatever configured them."""

from __future__ import annotations

from dataclasses import dataclass

RATES = {"diagonal": 0.03, "banded": 0.01, "dense": 0.003}
"""The adapter's learning rate where none is set, by its core."""
AGAIN = 1 / 3
"""Of the rates that an adapter was trained with, where it trains on: it is near its goal, the schedule starts anew."""


@dataclass(frozen=True)
class Plan:
    """Rates are per optimizer step; `warmup` is a share of all steps; 0 turns `early_stopping` and `max_steps` off.

    With `max_steps` nothing is evaluated on the way: no epoch is the best, and none stops it early.
    """

    epochs: int = 3
    seed: int = 0
    batch_size: int = 32
    gradient_accumulation: int = 1
    learning_rate: float = RATES["diagonal"]
    head_learning_rate: float = 0.01
    weight_decay: float = 0.0
    warmup: float = 0.06
    schedule: str = "linear"
    max_grad_norm: float = 1.0
    early_stopping: int = 0
    max_steps: int = 0
    metric: str = "accuracy"
    class_weights: bool = False
    label_smoothing: float = 0.0
    device: str = "auto"
    precision: str = "auto"
    checkpoint: bool = True
