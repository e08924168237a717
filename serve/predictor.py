"""From rows to answers: a bundle's own adapter and no other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from serve.answers import MAX_TEXT, Prediction, softmax
from serve.batching.queueing import in_batches
from serve.bundle import Bundle
from serve.encoder import open_encoder
from serve.engine import open_default
from serve.errors import UsageError
from serve.pieces import Output, Prepared, Row
from serve.profile import Profile, chosen
from serve.samples import prepared_rows
from serve.tasks import task_of

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
        self._task = task_of(self.bundle.manifest.task)
        self._encoder = open_encoder(self.bundle)
        self._session, self._max_length = open_default(self.bundle, self._encoder, self.variant.name, settings)

    def predict(self, rows: Sequence[Row], batch_size: int = 16) -> list[Prediction]:
        """Answers in the order of the rows, none for none. Raises as `logits` does."""
        ready = self._prepared(rows)
        outputs = iter(self._outputs(ready, batch_size))
        return [self._task.decide([next(outputs) for _ in row.pieces], row, self.labels) for row in ready]

    def logits(self, rows: Sequence[Row], batch_size: int = 16) -> npt.NDArray[np.float32]:
        """The graph's raw output, float32 (len(rows), width), in the order of the rows, for a task of one output a row.

        Rows of like length share a batch. An int8 graph scales its activations by the batch, so there the
        company of a row moves its logits a little; `batch_size=1` is free of that.
        Raises InputError that names a row it can't take, UsageError for batch_size < 1 or a task of another kind.
        """
        if self._task.per_token:
            raise UsageError(f"{self._task.name} gives no logits a row; ask predict")
        found = self._outputs(self._prepared(rows), batch_size)
        return np.stack(found) if found else np.empty((0, self.bundle.manifest.output.width), dtype=np.float32)

    def _prepared(self, rows: Sequence[Row]) -> list[Prepared]:
        return prepared_rows(self.bundle.manifest, self._encoder, rows, self._max_length)

    def _outputs(self, rows: Sequence[Prepared], batch_size: int) -> list[Output]:
        pieces = [piece for row in rows for piece in row.pieces]

        def run(places: Sequence[int]) -> list[Output]:
            batch = [pieces[place] for place in places]
            return self._encoder.split(self._session.run(self._encoder.pad(batch)), batch)

        return in_batches(run, pieces, batch_size)
