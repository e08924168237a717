"""The names of the tasks, and what each may be measured by: read by the configuration, so nothing heavy is imported."""

from __future__ import annotations

from collections.abc import Sequence

NAMES = {
    "classification": "text-classification",
    "regression": "text-regression",
    "token-classification": "token-classification",
    "image-classification": "image-classification",
    "embedding": "text-embedding",
}
"""By `data.task`: the task as manifests and cards name it."""
SCORED = ("cosine_spearman", "cosine_pearson")
RETRIEVED = ("mrr_at_10", "recall_at_1", "recall_at_5", "recall_at_10")
PAIRS = {"scores": SCORED, "positives": RETRIEVED, "triplets": (*RETRIEVED, "triplet_accuracy")}
"""What an embedding may be measured by, by the kind of its rows."""
AUGMENT = ("crop", "flip", "rotate", "colour")
"""How images may be varied in training: see `pipeline.train.augment`."""
METRICS = {
    "text-classification": ("accuracy", "macro_f1", "matthews"),
    "text-regression": ("pearson", "spearman"),
    "token-classification": ("entity_f1", "entity_precision", "entity_recall"),
    "image-classification": ("accuracy", "macro_f1", "matthews"),
    "text-embedding": (*SCORED, *RETRIEVED, "triplet_accuracy"),
}
"""What `train.metric` may be, besides `loss`; the first is what `auto` stands for."""


def headline(task: str, chosen: str = "auto", metrics: Sequence[str] = ()) -> str:
    """The metric that decides which epoch is best and what a gate measures; `metrics` are those of the rows, where they
    have their own."""
    return (metrics or METRICS[task])[0] if chosen == "auto" else chosen


def misfit(task: str, metric: str, metrics: Sequence[str] = ()) -> str:
    """Why `train.metric` can't be that, or ""."""
    fitting = (*(metrics or METRICS[task]), "loss")
    told = f"{task} with such rows" if metrics else task
    return (
        ""
        if metric in fitting
        else f"train.metric: {metric} says nothing about {told}; available: {', '.join(fitting)}"
    )
