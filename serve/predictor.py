"""From rows of text to labels and probabilities, or values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from serve.bundle import Bundle
from serve.errors import InputError, UsageError
from serve.session import open_session
from serve.tokenize import Row, TextTokenizer

MAX_TEXT = 2**20  # characters of a row, both texts of a pair together


@dataclass(frozen=True, slots=True)
class Prediction:
    """One row's answer.

    Classification: `label`, its probability as `score`, and every label's probability.
    Regression: `value`, and the same as `score`.
    """

    label: str | None
    score: float
    probabilities: dict[str, float] | None
    value: float | None


class Predictor:
    """A bundle's variant, loaded and ready."""

    def __init__(self, bundle: Bundle | Path | str, *, variant: str | None = None, threads: int | None = None) -> None:
        """Load a bundle; a path is opened and checked first. Raises InputError; UsageError: threads < 1."""
        self.bundle = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
        self.variant = self.bundle.manifest.variant(variant)
        self.labels = self.bundle.manifest.labels
        self._tokenizer = TextTokenizer(self.bundle)
        self._session = open_session(self.bundle, self.variant.name, threads=threads)

    def predict(self, rows: Sequence[Row], batch_size: int = 16) -> list[Prediction]:
        """Answers in the order of the rows, none for none. Raises as `logits` does."""
        logits = self.logits(rows, batch_size)
        if self.bundle.manifest.task == "text-regression":
            values = [float(value) for value in logits[:, 0]]
            return [Prediction(None, value, None, value) for value in values]
        return [self._classified(row) for row in softmax(logits)]

    def logits(self, rows: Sequence[Row], batch_size: int = 16) -> npt.NDArray[np.float32]:
        """The graph's raw output, float32 (len(rows), classes), in the order of the rows.

        Rows of like length share a batch. An int8 graph scales its activations by the batch, so there the
        company of a row moves its logits a little; `batch_size=1` is free of that.
        Raises InputError that names a row it can't take, UsageError for batch_size < 1.
        """
        if batch_size < 1:
            raise UsageError(f"batch size must be at least 1 (got {batch_size})")
        ready = [self._checked(row, place) for place, row in enumerate(rows)]
        result = np.empty((len(ready), self.bundle.manifest.output.width), dtype=np.float32)
        order = sorted(range(len(ready)), key=lambda place: _length(ready[place]))
        for start in range(0, len(order), batch_size):
            places = order[start : start + batch_size]
            result[places] = self._session.run(self._tokenizer([ready[place] for place in places]))
        return result

    def _classified(self, row: npt.NDArray[np.float64]) -> Prediction:
        best = int(row.argmax())
        probabilities = dict(zip(self.labels, row.tolist(), strict=True))
        return Prediction(self.labels[best], float(row[best]), probabilities, None)

    def _checked(self, row: Row, place: int) -> Row:
        texts = (row,) if isinstance(row, str) else tuple(row)
        wanted = self.bundle.manifest.input.text
        if len(texts) != wanted:
            kinds = {1: "one text", 2: "a pair of texts"}
            raise InputError(f"row {place + 1}: this bundle takes {kinds[wanted]} a row (got {len(texts)})")
        if not all(isinstance(text, str) for text in texts):
            kinds_got = ", ".join(type(text).__name__ for text in texts)
            raise InputError(f"row {place + 1}: must be text (got {kinds_got})")
        size = sum(map(len, texts))
        if size > MAX_TEXT:
            raise InputError(f"row {place + 1}: {size} characters; a row may have {MAX_TEXT}")
        try:
            "".join(texts).encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"row {place + 1}: holds half a surrogate pair, which is no Unicode; try mending its encoding"
            ) from error
        return texts[0] if wanted == 1 else (texts[0], texts[1])


def softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Probabilities along the last axis, computed in float64: (n, classes) to (n, classes)."""
    wide = logits.astype(np.float64)
    powers = np.exp(wide - wide.max(axis=-1, keepdims=True))
    shares: npt.NDArray[np.float64] = powers / powers.sum(axis=-1, keepdims=True)
    return shares


def _length(row: Row) -> int:
    return len(row) if isinstance(row, str) else len(row[0]) + len(row[1])
