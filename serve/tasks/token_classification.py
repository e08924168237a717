"""Texts to the entities in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Protocol, runtime_checkable

from serve.answers import Prediction, checked_row
from serve.entities import tags_problem
from serve.errors import InputError
from serve.pieces import Encoder, Output, Prepared, Row
from serve.swap import Kind
from serve.tagging import entities_of
from serve.tasks.task import Asked
from serve.windows import Windows


@runtime_checkable
class Windowed(Protocol):
    """An encoder that reads long texts, as `serve.tokenize.TextTokenizer` does."""

    def windows(self, text: str, max_length: int | None = None) -> Windows: ...


class TokenClassification:
    """A tag for each word, and what they make: entities with their characters. A long text is read in windows.

    Labels are the tags, `O`, then `B-` and `I-` of each kind of entity.
    """

    name = "token-classification"
    columns: tuple[str, ...] = ("entities",)
    kind: Kind = "token"
    per_token = True

    def labels_problem(self, labels: Sequence[str], width: int | None = None) -> str:
        if problem := tags_problem(labels):
            return problem
        return "" if width in (None, len(labels)) else f"{len(labels)} labels for an output {width} wide"

    def prepare(self, encoder: Encoder, row: Row, asked: Asked) -> Prepared:
        text = checked_row(row, asked.texts, asked.where, asked.taker)
        if not isinstance(text, str) or not isinstance(encoder, Windowed):
            raise InputError(f"{asked.where}: {asked.taker} finds entities in one text a row")
        try:
            windows = encoder.windows(text, asked.max_length)
        except InputError as error:
            raise InputError(f"{asked.where}: {error}") from None
        return Prepared(windows.pieces, windows)

    def decide(self, outputs: Sequence[Output], prepared: Prepared, labels: Sequence[str]) -> Prediction:
        return Prediction(self.name, entities=entities_of(outputs, prepared.note, labels))

    def told(self, prediction: Prediction, top: int | None = None, every: bool = True) -> dict[str, Any]:
        return {"entities": [asdict(entity) for entity in prediction.entities or ()]}
