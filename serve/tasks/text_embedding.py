"""Texts to vectors of length 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from serve.answers import Prediction
from serve.pieces import Encoder, Output, Prepared, Row
from serve.swap import Kind
from serve.tasks.task import Asked
from serve.tasks.text_classification import text_piece


class TextEmbedding:
    """A vector for each text, which the graph made of length 1: the cosine of two is how alike their texts are."""

    name = "text-embedding"
    columns: tuple[str, ...] = ("embedding",)
    kind: Kind = "embedding"
    per_token = False

    def labels_problem(self, labels: Sequence[str], width: int | None = None) -> str:
        return f"{len(labels)} labels; an embedding has none" if labels else ""

    def prepare(self, encoder: Encoder, row: Row, asked: Asked) -> Prepared:
        return text_piece(encoder, row, asked)

    def decide(self, outputs: Sequence[Output], prepared: Prepared, labels: Sequence[str]) -> Prediction:
        return Prediction(self.name, embedding=outputs[0])

    def told(self, prediction: Prediction, top: int | None = None, every: bool = True) -> dict[str, Any]:
        return {"embedding": None if prediction.embedding is None else prediction.embedding.tolist()}
