"""The report's pictures of cosines, and what an embedder's detail gives them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from reading import Page

from pipeline.report.similarity import similarity
from pipeline.train.embedding_detail import detail_pairs

NAN = math.nan


def unit(rows: int, fields: int, width: int = 16) -> np.ndarray[Any, Any]:
    drawn = np.random.default_rng(1).normal(size=(rows, fields, width)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=-1, keepdims=True)


def page(metrics: dict[str, Any]) -> Page:
    made = similarity({"metrics": {"test": metrics}})
    assert made is not None
    return Page(str(made))


def scored(rows: int = 600) -> dict[str, Any]:
    texts = [(f"<first {row}>", f"second {row}") for row in range(rows)]
    labels = np.array([[row % 6, 2 * row, 2 * row + 1] for row in range(rows)], dtype=np.float32)
    return detail_pairs(texts, labels, unit(rows, 2))


def found(rows: int = 50) -> dict[str, Any]:
    texts = [(f"question {row}", f"<answer {row // 2}>") for row in range(rows)]
    labels = np.array([[NAN, row, 1000 + row // 2] for row in range(rows)], dtype=np.float32)
    vectors = unit(rows, 2)
    vectors[:, 1] = vectors[::2, 1].repeat(2, axis=0)
    vectors[10:, 0] = vectors[10:, 1]
    return detail_pairs(texts, labels, vectors)


def test_pairs_with_scores_are_dots_and_the_worst_of_them_a_table() -> None:
    shown = page(scored())
    assert len(shown.all("circle")) == 400
    assert "Cosine by score" in shown.text
    assert "<first" in shown.text
    assert shown.text.count("second") == 10


def test_the_pair_that_stands_farthest_from_its_score_comes_first() -> None:
    vectors = np.zeros((4, 2, 2), dtype=np.float32)
    vectors[:, 0] = [1, 0]
    vectors[:, 1] = [[1, 0], [0.8, 0.6], [0.6, 0.8], [0, 1]]
    labels = np.array([[0, 0, 1], [3, 2, 3], [2, 4, 5], [1, 6, 7]], dtype=np.float32)
    told = detail_pairs([(f"a{row}", f"b{row}") for row in range(4)], labels, vectors)
    assert told["similarity"]["wrong"][0] == {"texts": ["a0", "b0"], "score": 0.0, "cosine": 1.0}


def test_retrieval_has_an_outline_for_both_kinds_of_pairs_and_the_misses() -> None:
    told = found()
    shown = page(told)
    assert len([path for path in shown.all("path") if path["class"].startswith("line")]) == 2
    assert "belong together" in shown.text
    wrong = told["similarity"]["wrong"]
    assert 0 < len(wrong) <= 10
    assert all(int(row["texts"][0].split()[1]) < 10 for row in wrong)
    assert [row["rank"] for row in wrong] == sorted((row["rank"] for row in wrong), reverse=True)
    assert all(row["nearest_cosine"] >= row["cosine"] and row["nearest"] != row["texts"][1] for row in wrong)
    assert sum(told["similarity"]["together"]) == 50


def test_texts_that_belong_together_are_never_counted_apart() -> None:
    texts = [("q", f"a{row}") for row in range(5)]
    labels = np.array([[NAN, 0, 1 + row] for row in range(5)], dtype=np.float32)
    told = detail_pairs(texts, labels, unit(5, 2))
    assert sum(told["similarity"]["apart"]) == 0
    assert told["similarity"]["wrong"] == []
    assert "belong together" in page(told).text


@pytest.mark.parametrize(
    "metrics",
    [
        {},
        {"cosine_spearman": 0.5},
        {"cosine_spearman": 0.5, "similarity": 3},
        {"cosine_spearman": 0.5, "similarity": {"points": [], "wrong": [3]}},
        {"mrr_at_10": 0.5, "similarity": {"edges": [0, 1], "together": [1, 2], "apart": [3]}},
    ],
)
def test_without_numbers_there_is_nothing_to_show(metrics: dict[str, Any]) -> None:
    assert similarity({"metrics": {"test": metrics}}) is None
