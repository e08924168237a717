from __future__ import annotations

import pytest
import torch

from pipeline.train.loss import losses


@pytest.mark.parametrize("outputs", [1, 3])
def test_numbers_lose_the_square_of_their_distance(outputs: int) -> None:
    logits = torch.randn(5, outputs)
    labels = torch.randn(5) if outputs == 1 else torch.randn(5, outputs)
    torch.testing.assert_close(losses(logits, labels), (logits.reshape(labels.shape) - labels) ** 2)
