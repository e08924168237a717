"""What measurements are called and how they are written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pipeline.report.values import at, fixed, mapping, number, percent, significant

Writer = Callable[[Any], str]

METRICS: dict[str, tuple[str, Writer]] = {
    "accuracy": ("Accuracy", percent),
    "macro_f1": ("Macro-F1", fixed),
    "matthews": ("Matthews", fixed),
    "pearson": ("Pearson", fixed),
    "spearman": ("Spearman", fixed),
    "mse": ("Mean squared error", significant),
    "rmse": ("Root mean squared error", significant),
    "mae": ("Mean absolute error", significant),
    "entity_f1": ("Entity F1", fixed),
    "entity_precision": ("Entity precision", fixed),
    "entity_recall": ("Entity recall", fixed),
    "cosine_spearman": ("Spearman of cosines", fixed),
    "cosine_pearson": ("Pearson of cosines", fixed),
    "mrr_at_10": ("MRR at 10", fixed),
    "recall_at_1": ("Recall at 1", percent),
    "recall_at_5": ("Recall at 5", percent),
    "recall_at_10": ("Recall at 10", percent),
    "triplet_accuracy": ("Triplet accuracy", percent),
    "loss": ("Loss", significant),
}
_LEADING = ("entity_f1", "cosine_spearman", "mrr_at_10", "accuracy", "macro_f1", "pearson", "spearman", "mae", "mse")


def title(key: str) -> str:
    """The name of a metric for people."""
    return METRICS[key][0] if key in METRICS else key.replace("_", " ").capitalize()


def within(key: str) -> str:
    """The name of a metric inside a sentence: people's names keep their capital."""
    name = title(key)
    return name if name.partition(" ")[0] in ("Matthews", "Pearson", "Spearman", "MRR") else name[:1].lower() + name[1:]


def write(key: str, value: Any) -> str:
    """A metric's value for people."""
    return METRICS.get(key, ("", significant))[1](value)


def leading(*metrics: Any) -> str | None:
    """The key that says best how good a model is: the first known one that any of `metrics` holds."""
    return next((key for key in _LEADING for each in metrics if number(at(each, key)) is not None), None)


def measured(report: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """The split that results are quoted from, the test split if it was measured, and its metrics."""
    metrics = mapping(report.get("metrics"))
    for split in ("test", "validation"):
        if leading(metrics.get(split)):
            return split, mapping(metrics[split])
    return "test", {}
