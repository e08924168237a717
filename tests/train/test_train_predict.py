"""What a model answers to rows: in their order, alone or in a batch, a class a row or a class a token."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertForTokenClassification

from pipeline.train.entities import ForEntities
from pipeline.train.learning import ForTexts
from pipeline.train.predict import BATCH, labels, outputs
from pipeline.train.rows import IGNORED, Rows

LENGTHS = [1, 9, 4, 12, 2] * 14  # more than two batches


@pytest.fixture
def rows(tokenizer: Any) -> Rows:
    rng = random.Random(0)  # noqa: S311 (rows, not secrets)
    texts = [(" ".join(rng.choices(["pump", "leak", "fan", "door"], k=length)),) for length in LENGTHS]
    return Rows(tokenizer, texts, [length % 3 for length in LENGTHS], 64)


def alone(model: Any, rows: Rows) -> list[np.ndarray[Any, Any]]:
    model.eval()
    with torch.no_grad():
        return [model(**{k: torch.tensor([v]) for k, v in row.items()}).logits[0].numpy() for row in rows.encoded]


def test_rows_answer_in_their_order_and_the_mode_comes_back(tiny_model: Any, tokenizer: Any, rows: Rows) -> None:
    model = tiny_model("bert")
    wanted = np.stack(alone(model, rows))
    for training in (True, False):
        model.train(training)
        found = outputs(model, ForTexts(tokenizer, "text-classification"), rows)
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
        assert (found.dtype, model.training) == (np.float32, training)
    assert labels(ForTexts(tokenizer, "text-classification"), rows).tolist() == rows.labels


def test_the_mode_comes_back_from_a_model_that_fails(tiny_model: Any, tokenizer: Any, rows: Rows) -> None:
    model = tiny_model("bert").train()
    rows.encoded[0]["input_ids"][0] = 10**6
    with pytest.raises(IndexError):
        outputs(model, ForTexts(tokenizer, "text-classification"), rows)
    assert model.training


def test_a_class_a_token_is_padded_as_transformers_pads_it(tiny_model: Any, tokenizer: Any, rows: Rows) -> None:
    torch.manual_seed(0)
    model = BertForTokenClassification(tiny_model("bert").config)
    rows.labels = [[0, IGNORED, *[place % 3 for place in range(length)], IGNORED] for length in LENGTHS]
    learning = ForEntities(tokenizer, ("O", "B-a", "I-a"))
    found, truth = outputs(model, learning, rows), labels(learning, rows)
    assert (found.shape, truth.shape) == ((len(rows), 14, 3), (len(rows), 15))
    for row, (wanted, length) in enumerate(zip(alone(model, rows), LENGTHS, strict=True)):
        np.testing.assert_allclose(found[row, : length + 2], wanted, rtol=1e-4, atol=1e-5)
        assert truth[row].tolist() == rows.labels[row] + [IGNORED] * (12 - length)
    shortest = LENGTHS.index(1)
    assert LENGTHS.count(1) + LENGTHS.count(2) < BATCH  # its batch ends with rows of 4 words, then there is nothing
    assert (found[shortest, 6:] == IGNORED).all()
