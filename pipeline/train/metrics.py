"""What a prediction is worth: accuracy, F1, Matthews; Pearson and Spearman for numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import confusion_matrix, f1_score, matthews_corrcoef, precision_recall_fscore_support

HIGHER_IS_BETTER = {
    "accuracy": True,
    "macro_f1": True,
    "matthews": True,
    "pearson": True,
    "spearman": True,
    "entity_f1": True,
    **dict.fromkeys(("cosine_spearman", "cosine_pearson", "mrr_at_10", "triplet_accuracy"), True),
    **dict.fromkeys(("recall_at_1", "recall_at_5", "recall_at_10"), True),
    "entity_precision": True,
    "entity_recall": True,
    "loss": False,
}

Targets = Sequence[float] | NDArray[Any]


def score(task: str, logits: NDArray[np.float32], targets: Targets) -> dict[str, float]:
    """The scalar metrics of `logits (rows, outputs)` against `targets (rows,)` (class indices, or numbers)."""
    if task == "text-regression":
        return _score_numbers(logits[:, 0].astype(np.float64), np.asarray(targets, dtype=np.float64))
    truth, guess = np.asarray(targets, dtype=np.int64), logits.argmax(-1)
    several = len(np.union1d(truth, guess)) > 1
    return {
        "accuracy": float((truth == guess).mean()),
        "macro_f1": float(f1_score(truth, guess, average="macro", zero_division=0.0)),
        "matthews": float(matthews_corrcoef(truth, guess)) if several else 0.0,
    }


def detail(task: str, labels: Sequence[str], logits: NDArray[np.float32], targets: Targets) -> dict[str, Any]:
    """`score`, and for classes also per-class precision, recall, F1 and support, and the confusion counts
    (`confusion[true][predicted]`)."""
    found: dict[str, Any] = dict(score(task, logits, targets))
    if task == "text-regression":
        return found
    truth, guess = np.asarray(targets, dtype=np.int64), logits.argmax(-1)
    every = list(range(len(labels)))
    columns = precision_recall_fscore_support(truth, guess, labels=every, zero_division=0.0)
    found["per_class"] = [
        {"label": label, "precision": float(p), "recall": float(r), "f1": float(f), "support": int(n)}
        for label, p, r, f, n in zip(labels, *columns, strict=True)
    ]
    found["confusion"] = confusion_matrix(truth, guess, labels=every).tolist()
    return found


def _score_numbers(guess: NDArray[np.float64], truth: NDArray[np.float64]) -> dict[str, float]:
    constant = len(truth) < 2 or np.ptp(guess) == 0 or np.ptp(truth) == 0
    return {
        "pearson": 0.0 if constant else float(pearsonr(truth, guess).statistic),
        "spearman": 0.0 if constant else float(spearmanr(truth, guess).statistic),
        "mse": float(((truth - guess) ** 2).mean()),
        "mae": float(np.abs(truth - guess).mean()),
    }
