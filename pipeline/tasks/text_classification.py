"""Texts, or pairs of them, into classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.config.schema import DataSection
from pipeline.data import Dataset, Split, load_dataset
from pipeline.tasks.text import TextTask
from pipeline.train.metrics import detail
from serve.answers import Prediction
from serve.pieces import Output, Prepared


class TextClassification(TextTask):
    """A class for each row; whether it is that, or numbers, the labels of `data.task = "auto"` say."""

    name = "text-classification"

    def read(self, data: DataSection, seed: int) -> Dataset:
        return load_dataset(
            train=data.train,
            validation=data.validation,
            test=data.test,
            text=data.text,
            label=data.label,
            task="auto" if data.task == "auto" else self.name,
            validation_share=data.validation_share,
            seed=seed,
            format=data.format,
            dataset=data.dataset,
            dataset_config=data.dataset_config,
        )

    def detail(
        self, split: Split, labels: Sequence[str], rows: Sequence[Prepared], outputs: Sequence[Sequence[Output]]
    ) -> dict[str, Any]:
        return detail(self.name, labels, np.stack([own[0] for own in outputs]), split.labels)

    def example(self, split: Split, labels: Sequence[str], place: int, answer: Prediction) -> dict[str, Any]:
        return {
            "text": " ⏐ ".join(split.texts[place]),
            "label": answer.label if answer.label is not None else answer.value,
            "score": answer.score,
            "truth": labels[int(split.labels[place])] if labels else split.labels[place],
        }


TASK = TextClassification()
