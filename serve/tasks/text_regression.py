"""Texts, or pairs of them, to a number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from serve.answers import Prediction
from serve.pieces import Encoder, Output, Prepared, Row
from serve.swap import Kind
from serve.tasks.task import Asked
from serve.tasks.text_classification import text_piece


class TextRegression:
    """One number."""

    name = "text-regression"
    columns: tuple[str, ...] = ("value",)
    kind: Kind = "row"
    per_token = False

    def labels_problem(self, labels: Sequence[str], width: int | None = None) -> str:
        return "" if not labels and width in (None, 1) else "regression has no labels, and an output of width 1"

    def prepare(self, encoder: Encoder, row: Row, asked: Asked) -> Prepared:
        return text_piece(encoder, row, asked)

    def decide(self, outputs: Sequence[Output], prepared: Prepared, labels: Sequence[str]) -> Prediction:
        value = float(outputs[0][0])
        return Prediction(self.name, score=value, value=value)

    def told(self, prediction: Prediction, top: int | None = None, every: bool = True) -> dict[str, Any]:
        return {"value": prediction.value}
