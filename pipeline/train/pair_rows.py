"""Rows of several texts as an embedder takes them: each text a line of the batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase

from pipeline.train.rows import Texts, tokenize


class PairRows(Dataset[dict[str, Any]]):
    """Tokenized rows of two or three texts with their scores, not padded; a text that occurs often is kept once."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, texts: Texts, labels: Sequence[float], max_length: int
    ) -> None:
        self.places: dict[str, int] = {}
        for fields in texts:
            for text in fields:
                self.places.setdefault(text, len(self.places))
        self.encoded = tokenize(tokenizer, [(text,) for text in self.places], max_length)
        self.texts = [[self.places[text] for text in fields] for fields in texts]
        self.labels = [float(label) for label in labels]

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """`input_ids` and the rest, a list for each text; `texts`, which they are; `labels`, the score."""
        encoded = [self.encoded[place] for place in self.texts[index]]
        inputs = {key: [one[key] for one in encoded] for key in encoded[0]}
        return {**inputs, "texts": self.texts[index], "labels": self.labels[index]}


class PairCollator:
    """Pads the texts of a batch, row after row, to its longest: int64 `(rows · fields, sequence)`. `labels` are float32
    `(rows, 1 + fields)`: the score, and which text each is, numbered within the batch (see `embedding.losses`)."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        names = [key for key in rows[0] if key not in ("texts", "labels")]
        fields = range(len(rows[0]["texts"]))
        inputs = [{key: row[key][field] for key in names} for row in rows for field in fields]
        numbers: dict[int, int] = {}
        labels = [
            [row["labels"], *(float(numbers.setdefault(text, len(numbers))) for text in row["texts"])] for row in rows
        ]
        batch = self.tokenizer.pad(inputs, return_tensors="pt")
        return {**batch, "labels": torch.tensor(labels, dtype=torch.float32)}
