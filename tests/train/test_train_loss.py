from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from pipeline.train.loss import losses
from pipeline.train.rows import IGNORED


def test_a_class_a_token_counts_labelled_tokens_only() -> None:
    logits = torch.randn(2, 3, 4)
    labels = torch.tensor([[1, IGNORED, 3], [IGNORED, IGNORED, 0]])
    found = losses(logits, labels)
    wanted = [
        functional.cross_entropy(logits[row, place], labels[row, place]) for row, place in ((0, 0), (0, 2), (1, 2))
    ]
    torch.testing.assert_close(found, torch.stack(wanted))


@pytest.mark.parametrize("outputs", [1, 3])
def test_numbers_lose_the_square_of_their_distance(outputs: int) -> None:
    logits = torch.randn(5, outputs)
    labels = torch.randn(5) if outputs == 1 else torch.randn(5, outputs)
    torch.testing.assert_close(losses(logits, labels), (logits.reshape(labels.shape) - labels) ** 2)
