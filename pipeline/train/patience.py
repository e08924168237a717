"""Early stopping that counts in the history, so that a resumed training counts on where it was broken."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from pipeline.train.metrics import HIGHER_IS_BETTER


class Patience(TrainerCallback):
    """Ends the training after `evaluations` in a row that were no better on `metric` than the best before."""

    def __init__(self, evaluations: int, metric: str) -> None:
        self.evaluations = evaluations
        self.metric = metric

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        key = f"eval_{self.metric}"
        values = [float(row[key]) for row in state.log_history if key in row]
        best = (max if HIGHER_IS_BETTER[self.metric] else min)(values)
        if len(values) - 1 - values.index(best) >= self.evaluations:
            control.should_training_stop = True
