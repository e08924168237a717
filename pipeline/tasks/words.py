"""The names of the tasks, and what each may be measured by: read by the configuration, so nothing heavy is imported."""

from __future__ import annotations

NAMES = {
    "classification": "text-classification",
    "regression": "text-regression",
}
"""By `data.task`: the task as manifests and cards name it."""
METRICS = {
    "text-classification": ("accuracy", "macro_f1", "matthews"),
    "text-regression": ("pearson", "spearman"),
}
"""What `train.metric` may be, besides `loss`; the first is what `auto` stands for."""


def headline(task: str, chosen: str = "auto") -> str:
    """The metric that decides which epoch is best and what a gate measures."""
    return METRICS[task][0] if chosen == "auto" else chosen
