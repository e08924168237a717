"""From rows of text to labels and probabilities, or values: a bundle's own adapter and no other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from serve.answers import MAX_TEXT, Prediction, checked_row, decide, softmax
from serve.batching.queueing import alike
from serve.bundle import Bundle
from serve.engine import open_default
from serve.errors import UsageError
from serve.profile import Profile, chosen
from serve.tokenize import Row, TextTokenizer

__all__ = ["MAX_TEXT", "Prediction", "Predictor", "softmax"]


class Predictor:
    """A bundle's variant, loaded and ready. Of a swappable bundle the first sealed adapter answers: see `Runtime`."""

    def __init__(
        self,
        bundle: Bundle | Path | str,
        *,
        variant: str | None = None,
        threads: int | None = None,
        profile: Profile | None = None,
    ) -> None:
        """Load a bundle; a path is opened and checked first.

        `profile` is what `svfit tune` found for it here (`serve.profile.find`); variant and threads that are given win.
        Raises InputError; UsageError: threads < 1.
        """
        name, settings = chosen(profile, variant, threads)
        self.bundle = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
        self.variant = self.bundle.manifest.variant(name)
        self.labels = self.bundle.manifest.labels
        self._tokenizer = TextTokenizer(self.bundle)
        self._session, self._max_length = open_default(self.bundle, self._tokenizer, self.variant.name, settings)

    def predict(self, rows: Sequence[Row], batch_size: int = 16) -> list[Prediction]:
        """Answers in the order of the rows, none for none. Raises as `logits` does."""
        return [decide(row, self.labels) for row in self.logits(rows, batch_size)]

    def logits(self, rows: Sequence[Row], batch_size: int = 16) -> npt.NDArray[np.float32]:
        """The graph's raw output, float32 (len(rows), classes), in the order of the rows.

        Rows of like length share a batch. An int8 graph scales its activations by the batch, so there the
        company of a row moves its logits a little; `batch_size=1` is free of that.
        Raises InputError that names a row it can't take, UsageError for batch_size < 1.
        """
        if batch_size < 1:
            raise UsageError(f"batch size must be at least 1 (got {batch_size})")
        texts = self.bundle.manifest.input.text
        ready = [checked_row(row, texts, f"row {place + 1}") for place, row in enumerate(rows)]
        result = np.empty((len(ready), self.bundle.manifest.output.width), dtype=np.float32)
        columns = [self._tokenizer.encode(row, self._max_length) for row in ready]
        for places in alike([column.shape[1] for column in columns], batch_size):
            result[places] = self._session.run(self._tokenizer.pad([columns[place] for place in places]))
        return result
