"""Images into classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from serve.answers import Prediction
from serve.errors import InputError
from serve.images.encoder import ImageEncoder
from serve.pieces import Encoder, Output, Prepared, Row
from serve.swap import Kind
from serve.tasks.task import Asked
from serve.tasks.text_classification import classes_problem, likeliest, told_label


class ImageClassification:
    """The likeliest label, and every label's probability."""

    name = "image-classification"
    columns: tuple[str, ...] = ("label", "score")
    kind: Kind = "row"
    per_token = False

    def labels_problem(self, labels: Sequence[str], width: int | None = None) -> str:
        return classes_problem(len(labels), width)

    def prepare(self, encoder: Encoder, row: Row, asked: Asked) -> Prepared:
        if not isinstance(encoder, ImageEncoder):
            raise InputError(f"{asked.where}: {asked.taker} takes images, and this bundle's graph none")
        if isinstance(row, str | tuple):
            raise InputError(f"{asked.where}: {asked.taker} takes images (got text)")
        return Prepared((encoder.named(row, asked.where),))

    def decide(self, outputs: Sequence[Output], prepared: Prepared, labels: Sequence[str]) -> Prediction:
        return likeliest(self.name, outputs[0], labels)

    def told(self, prediction: Prediction, top: int | None = None, every: bool = True) -> dict[str, Any]:
        return told_label(prediction, top, every)
