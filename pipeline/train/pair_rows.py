"""Rows of several texts as an embedder takes them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase

from pipeline.train.rows import Texts, tokenize


class PairRows(Dataset[dict[str, Any]]):
    """Tokenized rows of two or three texts, not padded; a text that occurs often is kept once.

    `labels[i]` is the row's score (NaN where it has none), and which text each of its fields holds, as numbers that
    rows with a text in common share.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, texts: Texts, scores: Sequence[float], max_length: int
    ) -> None:
        self.texts = numbered(texts)
        self.encoded = tokenize(tokenizer, [(text,) for text in different(texts)], max_length)
        self.labels = [[float(score), *map(float, row)] for score, row in zip(scores, self.texts, strict=True)]

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """`input_ids` and the rest, a list for each text; `labels`."""
        encoded = [self.encoded[place] for place in self.texts[index]]
        return {**{key: [one[key] for one in encoded] for key in encoded[0]}, "labels": self.labels[index]}

    def length(self, index: int) -> int:
        """Tokens of the longest text."""
        return max(len(self.encoded[place]["input_ids"]) for place in self.texts[index])


class PairCollator:
    """Pads the texts of a batch to its longest: int64 `(rows, fields, sequence)`; `labels` float32
    `(rows, 1 + fields)`, which holds the numbers of 16 million texts exactly."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        names = [key for key in rows[0] if key != "labels"]
        fields = len(rows[0][names[0]])
        flat = self.tokenizer.pad(
            [{key: row[key][field] for key in names} for row in rows for field in range(fields)], return_tensors="pt"
        )
        batch = {key: value.unflatten(0, (len(rows), fields)) for key, value in flat.items()}
        return {**batch, "labels": torch.tensor([row["labels"] for row in rows], dtype=torch.float32)}


def different(texts: Texts) -> list[str]:
    """Each text of the rows once, in the order in which they first occur."""
    return list(dict.fromkeys(text for fields in texts for text in fields))


def numbered(texts: Texts) -> list[list[int]]:
    """Rows of texts as rows of their places in `different`."""
    places = {text: place for place, text in enumerate(different(texts))}
    return [[places[text] for text in fields] for fields in texts]


def kind_of(labels: Sequence[float]) -> str:
    """What a row with these labels is: `scores`, `positives` or `triplets`."""
    if len(labels) == 4:
        return "triplets"
    return "positives" if math.isnan(labels[0]) else "scores"
