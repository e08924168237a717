"""A row of text checked, and what an answer holds."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from serve.entities import Entity
from serve.errors import InputError
from serve.pieces import Row

MAX_TEXT = 2**20  # characters of a row, both texts of a pair together
_KINDS = {1: "one text", 2: "a pair of texts"}


@dataclass(frozen=True, slots=True)
class Prediction:
    """One row's answer to a `task`, whose file says which of the rest it fills.

    Classification: `label`, its probability as `score`, and every label's probability. Regression: `value`, and the
    same as `score`. Entities: `entities`, in the order of the text. An embedding: `embedding`, float32 (dimensions,).
    """

    task: str
    label: str | None = None
    score: float | None = None
    probabilities: dict[str, float] | None = None
    value: float | None = None
    entities: tuple[Entity, ...] | None = None
    embedding: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class Answer(Prediction):
    """A prediction, the `adapter` that gave it, as name@version, and how many `tokens` of the row it read."""

    adapter: str = ""
    tokens: int = 0

    @classmethod
    def of(cls, given: Prediction, adapter: str, tokens: int = 0) -> Answer:
        known = {field.name: getattr(given, field.name) for field in fields(given)}
        return cls(**known, adapter=adapter, tokens=tokens)


def softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Probabilities along the last axis, computed in float64: (…, classes) to (…, classes)."""
    wide = logits.astype(np.float64)
    powers = np.exp(wide - wide.max(axis=-1, keepdims=True))
    shares: npt.NDArray[np.float64] = powers / powers.sum(axis=-1, keepdims=True)
    return shares


def checked_row(row: Row, texts: int, where: str, taker: str = "this bundle") -> str | tuple[str, str]:
    """The row as the tokenizer takes it: a text, or a pair of them where `texts` is 2.

    Raises InputError that begins with `where`: another number of texts, no text, too long, or no Unicode.
    """
    parts: tuple[Any, ...] = tuple(row) if isinstance(row, list | tuple) else (row,)
    if len(parts) != texts:
        raise InputError(f"{where}: {taker} takes {_KINDS[texts]} a row (got {len(parts)})")
    if not all(isinstance(text, str) for text in parts):
        got = ", ".join(type(text).__name__ for text in parts)
        raise InputError(f"{where}: must be text (got {got})")
    size = sum(map(len, parts))
    if size > MAX_TEXT:
        raise InputError(f"{where}: {size} characters; a row may have {MAX_TEXT}")
    try:
        "".join(parts).encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"{where}: holds half a surrogate pair, which is no Unicode; try mending its encoding"
        ) from error
    return parts[0] if texts == 1 else (parts[0], parts[1])
