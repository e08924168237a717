from __future__ import annotations

import math

import numpy as np
import onnxruntime
import pytest
import torch
from architecture_cases import PAD, VOCABULARY
from exported_bert import Exported

from export.parity import LIMIT, ParityRow, check_parity, gate_parity, random_batches, summary
from serve.errors import GateError, InputError

NAMES = ("input_ids", "attention_mask", "token_type_ids")


def test_the_same_model_passes_at_six_shapes_padded_and_not(bert: Exported) -> None:
    rows = check_parity(bert.model, bert.path, bert.batches)
    gate_parity(rows)
    assert len({row.shape for row in rows}) >= 6
    assert {(row.shape, row.padded) for row in rows} == {
        (shape, padded) for shape in {row.shape for row in rows} for padded in (False, True)
    }
    assert summary(rows)["max_abs"] == max(row.max_abs for row in rows) < LIMIT


def test_a_weight_moved_a_little_fails_and_names_output_shape_and_difference(bert: Exported) -> None:
    session = onnxruntime.InferenceSession(str(bert.path))
    bias = bert.model.classifier.bias
    with torch.no_grad():
        bias[1] += 0.001
    try:
        rows = check_parity(bert.model, session, bert.batches[:2])
    finally:
        with torch.no_grad():
            bias[1] -= 0.001
    assert [row.passed for row in rows] == [False, False]
    with pytest.raises(GateError, match=r"logits at 1 × 4 differs by 0\.001; logits at 1 × 4 padded differs by"):
        gate_parity(rows)


def test_nan_fails(bert: Exported) -> None:
    bias = bert.model.classifier.bias
    kept = bias.detach().clone()
    with torch.no_grad():
        bias[0] = float("nan")
    try:
        rows = check_parity(bert.model, bert.path, bert.batches[:1])
    finally:
        with torch.no_grad():
            bias.copy_(kept)
    assert math.isnan(rows[0].max_abs)
    with pytest.raises(GateError, match="nan"):
        gate_parity(rows)


def test_nothing_compared_is_no_pass() -> None:
    with pytest.raises(GateError, match="nothing was compared"):
        gate_parity([])


def test_a_difference_at_the_limit_passes() -> None:
    gate_parity([ParityRow((1, 4), False, "logits", LIMIT, LIMIT, True)])


def test_a_batch_that_the_graph_refuses_is_told(bert: Exported) -> None:
    long = random_batches(NAMES, vocabulary=VOCABULARY, pad_id=PAD, max_length=64, shapes=[(2, 8)])
    long[0].feeds["input_ids"][0, 0] = VOCABULARY + 5
    with pytest.raises((InputError, IndexError)):
        check_parity(bert.model, bert.path, long[:1])


@pytest.mark.parametrize("side", ["right", "left"])
def test_random_batches_pad_on_the_models_side_only_where_the_mask_is_zero(side: str) -> None:
    for batch in random_batches(
        NAMES, vocabulary=50, pad_id=7, max_length=20, padding_side=side, pad_type_id=3, type_vocabulary=2
    ):
        ids, mask, types = (batch.feeds[name] for name in NAMES)
        assert {value.dtype for value in (ids, mask, types)} == {np.dtype(np.int64)}
        assert ids.shape[1] <= 20
        assert ((ids == 7) == (mask == 0)).all()
        assert set(ids.ravel()) <= set(range(50))
        assert set(types[mask == 0]) <= {3}
        assert set(types[mask == 1]) <= {0, 1}
        assert (mask.sum(axis=1) >= 1).all()
        assert batch.padded == bool((mask == 0).any())
        edge = mask if side == "right" else mask[:, ::-1]
        assert (np.diff(edge, axis=1) <= 0).all()  # ones, then zeros


def test_random_batches_are_the_same_each_time() -> None:
    first, again = (random_batches(NAMES, vocabulary=50, pad_id=0, max_length=512) for _ in range(2))
    assert all((a.feeds[name] == b.feeds[name]).all() for a, b in zip(first, again, strict=True) for name in NAMES)
    assert (2, 512) in {batch.feeds["input_ids"].shape for batch in first}
