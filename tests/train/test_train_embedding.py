"""The losses and metrics of embeddings, held against plain loops and what must be true of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from pipeline.train import embedding_metrics
from pipeline.train.embedding import SCALE, likeness, losses, ranking
from pipeline.train.embedding_metrics import score_pairs, score_retrieval, score_scores
from pipeline.train.pair_rows import PairCollator, PairRows, kind_of


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    return functional.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def numbered(rows: int, fields: int) -> torch.Tensor:
    return torch.arange(rows * fields, dtype=torch.float32).reshape(rows, fields)


def test_likeness_is_the_squared_difference_of_cosine_and_score() -> None:
    vectors, scores = unit(5, 2, 7), torch.tensor([0.0, 1.0, 0.25, 0.5, 0.75])
    cosines = torch.nn.functional.cosine_similarity(vectors[:, 0], vectors[:, 1])
    torch.testing.assert_close(likeness(vectors, scores), (cosines - scores) ** 2)
    same = vectors[:, :1].expand(5, 2, 7)
    torch.testing.assert_close(likeness(same, torch.ones(5)), torch.zeros(5), rtol=0, atol=1e-12)


def test_ranking_is_cross_entropy_of_the_own_text_among_all() -> None:
    vectors = unit(4, 3, 5)
    found = ranking(vectors, numbered(4, 3))
    for row in range(4):
        candidates = [vectors[other, 1] for other in range(4)] + [vectors[other, 2] for other in range(4)]
        cosines = torch.stack([SCALE * vectors[row, 0] @ other for other in candidates])
        wanted = functional.cross_entropy(cosines[None], torch.tensor([row]))
        torch.testing.assert_close(found[row], wanted)


@pytest.mark.parametrize(
    ("texts", "ignored"),
    [
        ([[0, 1], [2, 1], [3, 4]], [(0, 1), (1, 0)]),  # the same second text
        ([[0, 1], [0, 2], [3, 4]], [(0, 1), (1, 0)]),  # the same first text
        ([[0, 1], [2, 0], [3, 4]], [(0, 1)]),  # the first text of one row is the second of another
    ],
)
def test_a_text_that_belongs_to_a_row_is_no_negative_of_it(
    texts: list[list[int]], ignored: list[tuple[int, int]]
) -> None:
    vectors = unit(3, 2, 5)
    found = ranking(vectors, torch.tensor(texts, dtype=torch.float32))
    cosines = SCALE * vectors[:, 0] @ vectors[:, 1].T
    for row, column in ignored:
        cosines[row, column] = -torch.inf
    torch.testing.assert_close(found, functional.cross_entropy(cosines, torch.arange(3), reduction="none"))


def test_a_row_whose_texts_are_one_still_has_a_loss() -> None:
    assert torch.isfinite(ranking(unit(2, 2, 3), torch.tensor([[0.0, 0.0], [1.0, 1.0]]))).all()


def test_matryoshka_is_the_mean_over_cut_and_lengthened_vectors() -> None:
    vectors, labels = unit(4, 2, 8), torch.cat([torch.arange(4.0)[:, None], numbered(4, 2)], 1)
    unscored = labels.clone()
    unscored[:, 0] = torch.nan
    for given in (labels, unscored):
        whole = losses(vectors, given)
        short = losses(functional.normalize(vectors[..., :3], dim=-1), given)
        torch.testing.assert_close(losses(vectors, given, dimensions=(8, 3)), (whole + short) / 2)
    assert not torch.allclose(losses(vectors, labels), losses(vectors, unscored))


@pytest.mark.parametrize("kind", ["scores", "positives", "triplets"])
def test_the_gradient_is_that_of_finite_differences(kind: str) -> None:
    fields = 3 if kind == "triplets" else 2
    vectors = unit(4, fields, 3).double().requires_grad_()
    labels = torch.cat([torch.tensor([[0.0], [2.0], [1.0], [1.0]]), numbered(4, fields)], 1)

    def loss(values: torch.Tensor) -> torch.Tensor:
        one = functional.normalize(values, dim=-1)
        return (likeness(one, labels[:, 0]) if kind == "scores" else ranking(one, labels[:, 1:])).mean()

    assert torch.autograd.gradcheck(loss, vectors)


def test_rows_keep_each_text_once_and_batches_are_padded_to_the_longest(tokenizer: Any) -> None:
    texts = [("pump leak", "valve"), ("valve", "fan noise hot"), ("pump leak", "lamp")]
    rows = PairRows(tokenizer, texts, [1, 0, math.nan], 16)
    assert len(rows.encoded) == 4
    assert [rows.length(row) for row in range(3)] == [4, 5, 4]
    batch = PairCollator(tokenizer)([rows[row] for row in (1, 2, 0)])
    assert batch["input_ids"].shape == batch["token_type_ids"].shape == (3, 2, 5)
    assert batch["attention_mask"].sum(-1).tolist() == [[3, 5], [4, 3], [4, 3]]
    np.testing.assert_array_equal(batch["labels"], [[0, 1, 2], [math.nan, 0, 3], [1, 0, 1]])
    assert batch["input_ids"][2, 1].tolist() == batch["input_ids"][0, 0].tolist()
    assert list(map(kind_of, rows.labels)) == ["scores", "scores", "positives"]


def test_spearman_and_pearson_are_of_cosines() -> None:
    angles = np.array([0.1, 0.5, 0.9, 1.4])
    vectors = np.stack([np.stack([np.ones(4), np.zeros(4)], 1), np.stack([np.cos(angles), np.sin(angles)], 1)], 1)
    found = score_scores(vectors.astype(np.float32), [4, 3, 1, 0])
    assert found["cosine_spearman"] == pytest.approx(1)
    assert found["cosine_pearson"] == pytest.approx(np.corrcoef(np.cos(angles), [4, 3, 1, 0])[0, 1], abs=1e-6)
    assert score_scores(np.ones((3, 2, 4), dtype=np.float32), [1, 2, 3]) == dict.fromkeys(
        ("cosine_spearman", "cosine_pearson"), 0.0
    )


def slow_retrieval(texts: list[tuple[str, ...]], vectors: np.ndarray[Any, Any]) -> dict[str, float]:
    """The same with loops over every candidate."""
    candidates = {fields[1]: vectors[row, 1] for row, fields in reversed(list(enumerate(texts)))}
    found: dict[str, list[float]] = {}
    for query in dict.fromkeys(fields[0] for fields in texts):
        row = [fields[0] for fields in texts].index(query)
        wanted = {fields[1] for fields in texts if fields[0] == query}
        others = {text: float(vectors[row, 0] @ one) for text, one in candidates.items() if text != query}
        order = sorted(others, key=lambda text: -others[text])
        ranks = [order.index(text) + 1 for text in wanted]
        for cut in (1, 5, 10):
            found.setdefault(f"recall_at_{cut}", []).append(sum(rank <= cut for rank in ranks) / len(ranks))
        found.setdefault("mrr_at_10", []).append(1 / min(ranks) if min(ranks) <= 10 else 0.0)
    return {name: float(np.mean(values)) for name, values in found.items()}


@pytest.mark.parametrize("block", [2**24, 100])
def test_retrieval_is_what_loops_find_whatever_the_block(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(embedding_metrics, "BLOCK", block)
    draw = np.random.default_rng(3)
    texts = [(f"q{draw.integers(20)}", f"a{draw.integers(40)}") for _ in range(60)]
    texts += [("q1", "q2"), ("a3", "a4")]
    of = {text: unit(6, seed=place).numpy() for place, text in enumerate({text for pair in texts for text in pair})}
    vectors = np.array([[of[text] for text in pair] for pair in texts])
    assert score_retrieval(texts, vectors) == pytest.approx(slow_retrieval(texts, vectors))


def test_vectors_that_are_all_the_same_find_nothing() -> None:
    texts = [(f"q{row}", f"a{row}") for row in range(30)]
    found = score_retrieval(texts, np.ones((30, 2, 4), dtype=np.float32))
    assert set(found.values()) == {0.0}


def test_triplets_count_third_texts_as_candidates() -> None:
    vectors = np.zeros((2, 3, 2), dtype=np.float32)
    vectors[:, 0] = [1, 0]
    vectors[0, 1:] = [[1, 0], [0, 1]]
    vectors[1, 1:] = [[0, 1], [1, 0]]
    found = score_pairs(vectors, np.array([[math.nan, 0, 1, 2], [math.nan, 3, 4, 5]], dtype=np.float32))
    assert found["triplet_accuracy"] == 0.5
    assert (
        found["recall_at_1"] == 0.0
    )  # 1's third text is as near to 0's first as its second is, and a tie counts against it
    assert found["recall_at_5"] == 1.0
