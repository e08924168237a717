"""Rows as a model takes them: token ids, padded a batch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase

IGNORED = -100
"""The label of a token that has none: special tokens, the later pieces of a word, padding."""

Texts = Sequence[tuple[str, ...]]


def tokenize(tokenizer: PreTrainedTokenizerBase, texts: Texts, max_length: int | None) -> list[dict[str, list[int]]]:
    """Token ids of each row (one text or a pair), cut at `max_length` (None: not cut), without padding."""
    if not texts:
        return []
    fields = [[row[field] for row in texts] for field in range(len(texts[0]))]
    encoded = tokenizer(*fields, truncation=max_length is not None, max_length=max_length, verbose=False)
    return [{key: list(encoded[key][row]) for key in encoded} for row in range(len(texts))]


def count_tokens(tokenizer: PreTrainedTokenizerBase, texts: Texts) -> list[int]:
    """Length of each row in tokens, special tokens included, before any cut."""
    return [len(row["input_ids"]) for row in tokenize(tokenizer, texts, None)]


class Rows(Dataset[dict[str, Any]]):
    """Tokenized rows with their labels, not padded: the sampler groups rows of like length."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, texts: Texts, labels: Sequence[Any], max_length: int
    ) -> None:
        self.encoded = tokenize(tokenizer, texts, max_length)
        self.labels = list(labels)

    def __len__(self) -> int:
        return len(self.encoded)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {**self.encoded[index], "labels": self.labels[index]}

    def length(self, index: int) -> int:
        """Tokens of a row."""
        return len(self.encoded[index]["input_ids"])


class Collator:
    """Pads a batch to its longest row; labels become int64 classes or float32 numbers."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, task: str) -> None:
        self.tokenizer = tokenizer
        self.dtype = torch.float32 if task == "text-regression" else torch.int64

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        inputs = [{key: value for key, value in row.items() if key != "labels"} for row in rows]
        batch = self.tokenizer.pad(inputs, return_tensors="pt")
        return {**batch, "labels": torch.tensor([row["labels"] for row in rows], dtype=self.dtype)}
