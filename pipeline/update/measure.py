"""What an adapter is worth on old rows and on new ones, before and after, and what it forgot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipeline.data import Split
from pipeline.train.learning import ForTexts
from pipeline.train.metrics import HIGHER_IS_BETTER, score
from pipeline.train.predict import outputs
from pipeline.train.rows import Rows

WARN = 1.0
"""Points of the metric beyond which forgetting is told as a warning."""
SHOWN = 3


class Meter:
    """Answers any rows with a model as it is at the moment."""

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, task: str, max_length: int, metric: str
    ) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.task, self.max_length, self.metric = task, max_length, metric

    def logits(self, split: Split, known: Sequence[int] | None = None) -> NDArray[np.float32]:
        """`(rows, outputs)` in the rows' order, in evaluation mode; only outputs in `known` (None: all) can win."""
        rows = Rows(self.tokenizer, split.texts, split.labels, self.max_length)
        found = outputs(self.model, ForTexts(self.tokenizer, self.task), rows)
        if known is not None:
            unknown = [output for output in range(found.shape[1]) if output not in set(known)]
            found[:, unknown] = -np.inf
        return found

    def score(self, logits: NDArray[np.float32], split: Split) -> dict[str, float]:
        return score(self.task, logits, split.labels)

    def points_lost(self, before: dict[str, float], after: dict[str, float]) -> float:
        """Of the metric, in hundredths; negative where it rose."""
        sign = 1.0 if HIGHER_IS_BETTER[self.metric] else -1.0
        return 100.0 * sign * (before[self.metric] - after[self.metric])


def most_forgotten(
    split: Split, labels: Sequence[str], before: NDArray[np.float32], after: NDArray[np.float32]
) -> list[dict[str, Any]]:
    """The classes that lost most right answers among the old rows, worst first; none where none lost any."""
    truth = np.asarray(split.labels, dtype=np.int64)
    right = [logits.argmax(-1) == truth for logits in (before, after)]
    rows: list[tuple[int, dict[str, Any]]] = []
    for place, label in enumerate(labels):
        of_class = truth == place
        was, now = (int(hits[of_class].sum()) for hits in right)
        if now < was:
            row = {"label": label, "rows": int(of_class.sum()), "right_before": was, "right_after": now}
            rows.append((now - was, row))
    return [row for _, row in sorted(rows, key=lambda entry: entry[0])][:SHOWN]
