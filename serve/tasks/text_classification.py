"""Texts, or pairs of them, into classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from serve.answers import Prediction, checked_row, softmax
from serve.pieces import Encoder, Output, Prepared, Row
from serve.swap import Kind
from serve.tasks.task import Asked


class TextClassification:
    """The likeliest label, and every label's probability."""

    name = "text-classification"
    columns: tuple[str, ...] = ("label", "score")
    kind: Kind = "row"
    per_token = False

    def labels_problem(self, labels: Sequence[str], width: int | None = None) -> str:
        return classes_problem(len(labels), width)

    def prepare(self, encoder: Encoder, row: Row, asked: Asked) -> Prepared:
        return text_piece(encoder, row, asked)

    def decide(self, outputs: Sequence[Output], prepared: Prepared, labels: Sequence[str]) -> Prediction:
        return likeliest(self.name, outputs[0], labels)

    def told(self, prediction: Prediction, top: int | None = None, every: bool = True) -> dict[str, Any]:
        return told_label(prediction, top, every)


def text_piece(encoder: Encoder, row: Row, asked: Asked) -> Prepared:
    """A text or a pair as the tokenizer takes it, cut to the length that is asked for."""
    checked = checked_row(row, asked.texts, asked.where, asked.taker)
    return Prepared((encoder.encode(checked, asked.max_length),))


def classes_problem(labels: int, width: int | None) -> str:
    """What is wrong with so many classes."""
    if labels >= 2 and width in (None, labels):
        return ""
    wide = "" if width is None else f" for an output {width} wide"
    return f"{labels} labels{wide}; classification needs two or more, one for each logit"


def likeliest(task: str, logits: Output, labels: Sequence[str]) -> Prediction:
    """The label with the largest of the logits, (classes,), and all probabilities."""
    shares = softmax(logits)
    best = int(shares.argmax())
    every = dict(zip(labels, shares.tolist(), strict=True))
    return Prediction(task, label=labels[best], score=float(shares[best]), probabilities=every)


def told_label(prediction: Prediction, top: int | None, every: bool) -> dict[str, Any]:
    """A label, its probability, and those of all labels or the likeliest, most likely first."""
    told: dict[str, Any] = {"label": prediction.label, "score": prediction.score}
    if every:
        likely = sorted((prediction.probabilities or {}).items(), key=lambda item: -item[1])
        told["probabilities"] = dict(likely[:top])
    return told
