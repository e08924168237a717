"""Texts to vectors: learned from pairs with a score, from texts that belong together, or from triplets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.config.schema import Config, DataSection
from pipeline.data import Dataset, Split
from pipeline.data.pair_profile import profile_pairs
from pipeline.data.pairs import load_pairs
from pipeline.model.embedder import load_embedder, load_merged_embedder
from pipeline.model.load import Loaded
from pipeline.model.source import Source
from pipeline.tasks.text import TextTask
from pipeline.tasks.words import PAIRS
from pipeline.train.embedding import losses
from pipeline.train.embedding_detail import detail_pairs
from pipeline.train.embedding_metrics import score_pairs
from pipeline.train.learning import Learning, TrainRows
from pipeline.train.pair_rows import PairCollator, PairRows, different, numbered
from pipeline.train.rows import count_tokens
from serve.answers import Prediction
from serve.errors import UsageError
from serve.pieces import Output, Prepared, Row

OUTPUT = "embedding"


class ForPairs:
    """Learning vectors of texts from rows of two or three, by a model with `embedding`."""

    output = OUTPUT
    by_length = False
    """Other rows of a batch are what a row is told from, so they should be any."""

    def __init__(self, loaded: Loaded) -> None:
        most = max(loaded.dimensions, default=0)
        if most > loaded.width:
            raise UsageError(f"model.dimensions: the vectors have {loaded.width} numbers (got {most})")
        self._collate = PairCollator(loaded.tokenizer)
        self._dimensions = tuple(sorted({*loaded.dimensions, loaded.width}, reverse=True))

    def collate(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        return self._collate(rows)

    def losses(
        self, answer: Any, labels: torch.Tensor, *, weight: torch.Tensor | None = None, smoothing: float = 0.0
    ) -> torch.Tensor:
        return losses(answer.embedding, labels, dimensions=self._dimensions)

    def score(self, outputs: NDArray[Any], labels: NDArray[Any]) -> dict[str, float]:
        return score_pairs(outputs, labels)


class TextEmbedding(TextTask):
    """A vector for each text. A row of the data has several texts, a row of the bundle is one of them."""

    name = "text-embedding"

    def read(self, data: DataSection, seed: int) -> Dataset:
        return load_pairs(
            train=data.train,
            validation=data.validation,
            test=data.test,
            text=data.text,
            label=data.label,
            pairs=data.pairs,
            validation_share=data.validation_share,
            seed=seed,
            format=data.format,
            dataset=data.dataset,
            dataset_config=data.dataset_config,
            metrics=PAIRS,
        )

    def profile(self, dataset: Dataset, loaded: Loaded, length: int) -> dict[str, Any]:
        return profile_pairs(dataset, lambda texts: count_tokens(loaded.tokenizer, texts), length)

    def load(self, source: Source, labels: Sequence[str], *, pooling: str, dropout: float) -> Loaded:
        return load_embedder(source, pooling=pooling)

    def merged(self, folder: Path) -> Loaded:
        return load_merged_embedder(folder)

    def learning(self, loaded: Loaded) -> Learning:
        return ForPairs(loaded)

    def rows(self, loaded: Loaded, split: Split, length: int, *, training: bool = False) -> TrainRows:
        return PairRows(loaded.tokenizer, split.texts, split.labels, length)

    def card(self, dataset: Dataset, config: Config) -> dict[str, Any]:
        return {"texts": 1, "output": OUTPUT, "dimensions": list(config.model.dimensions)}

    def served(self, split: Split) -> list[Row]:
        return list(different(split.texts))

    def detail(
        self, split: Split, labels: Sequence[str], rows: Sequence[Prepared], outputs: Sequence[Sequence[Output]]
    ) -> dict[str, Any]:
        places = numbered(split.texts)
        vectors = np.stack([own[0] for own in outputs])[np.array(places)]
        known = [[score, *row] for score, row in zip(split.labels, places, strict=True)]
        return detail_pairs(split.texts, np.array(known, dtype=np.float32), vectors)

    def example(self, split: Split, labels: Sequence[str], place: int, answer: Prediction) -> dict[str, Any]:
        vector = answer.embedding
        return {"text": self.served(split)[place], "embedding": [] if vector is None else vector[:4].tolist()}


TASK = TextEmbedding()
