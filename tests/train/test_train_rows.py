"""Rows as the model takes them, compared with the tokenizer's own padding."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from pipeline.train.rows import Collator, Rows, count_tokens, tokenize

TEXTS = [("pump leak",), ("",), ("the fan noise is hot " * 9,), ("DOOR",)]
PAIRS = [("pump leak", "valve"), ("", "fan"), ("hot " * 40, "cold " * 30), ("door", "")]


@pytest.mark.parametrize("texts", [TEXTS, PAIRS], ids=["one", "pair"])
def test_a_batch_is_what_the_tokenizer_itself_would_pad(tokenizer: Any, texts: list[tuple[str, ...]]) -> None:
    rows = Rows(tokenizer, texts, [0, 1, 2, 1], 16)
    batch = Collator(tokenizer, "text-classification")([rows[index] for index in range(len(rows))])
    labels = batch.pop("labels")
    fields = [list(field) for field in zip(*texts, strict=True)]
    wanted = tokenizer(*fields, truncation=True, max_length=16, padding=True, return_tensors="pt")
    assert batch.keys() == wanted.keys()
    assert all(torch.equal(batch[key], wanted[key]) for key in wanted)
    assert torch.equal(labels, torch.tensor([0, 1, 2, 1]))
    assert batch["input_ids"].shape[1] == 16


def test_a_pair_has_its_types(tokenizer: Any) -> None:
    (row,) = tokenize(tokenizer, [("pump leak", "valve")], 16)
    assert row["token_type_ids"] == [0, 0, 0, 0, 1, 1]


def test_rows_are_cut_and_not_padded_one_by_one(tokenizer: Any) -> None:
    rows = Rows(tokenizer, TEXTS, [0.0] * 4, 8)
    assert [len(rows[index]["input_ids"]) for index in range(4)] == [4, 2, 8, 3]


def test_lengths_are_counted_before_any_cut(tokenizer: Any) -> None:
    assert count_tokens(tokenizer, TEXTS) == [4, 2, 47, 3]
    assert count_tokens(tokenizer, []) == []


def test_numbers_stay_numbers(tokenizer: Any) -> None:
    rows = Rows(tokenizer, TEXTS[:2], [0.5, -100.0], 8)
    labels = Collator(tokenizer, "text-regression")([rows[0], rows[1]])["labels"]
    assert labels.dtype == torch.float32
    assert labels.tolist() == [0.5, -100.0]
