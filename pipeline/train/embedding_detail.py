"""What a report tells of embeddings besides their metrics: how alike texts came out, and where that is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from pipeline.train.embedding_metrics import BLOCK, Vectors, cosines_of, score_pairs
from pipeline.train.pair_rows import kind_of

POINTS = 400
BINS = 40
WORST = 10
SHIFTS = 20
"""Rows whose second text each first one is held against, to see how alike texts are that don't belong together."""


def detail_pairs(
    texts: Sequence[tuple[str, ...]], labels: NDArray[np.float32], vectors: Vectors, limit: int = WORST
) -> dict[str, Any]:
    """`score_pairs`, and `similarity` for the report, from `vectors (rows, fields, d)` of length 1 and `labels
    (rows, 1 + fields)` as `PairRows` has them.

    Of rows with scores `similarity` has `points`, up to 400 of (score, cosine), and `wrong`: the pairs whose cosine
    stands farthest from their score in the order of all. Of other rows it has a histogram, `edges` with counts of the
    cosines of texts that belong `together` and of texts that are `apart`, and `wrong`: the first texts whose second is
    farthest down, with its `rank` and what is nearest instead.
    """
    if kind_of(labels[0].tolist()) == "scores":
        similarity = _of_scores(texts, labels[:, 0].astype(np.float64), cosines_of(vectors), limit)
    else:
        similarity = _of_retrieval(texts, labels[:, 1:].astype(np.int64), vectors, limit)
    return {**score_pairs(vectors, labels), "similarity": similarity}


def _of_scores(
    texts: Sequence[tuple[str, ...]], scores: NDArray[np.float64], cosines: NDArray[np.float64], limit: int
) -> dict[str, Any]:
    shown = np.linspace(0, len(scores) - 1, min(POINTS, len(scores))).astype(int)
    off = np.abs(rankdata(scores) - rankdata(cosines))
    worst = np.argsort(-off, kind="stable")[:limit]
    return {
        "points": [[float(scores[row]), float(cosines[row])] for row in shown],
        "wrong": [
            {"texts": list(texts[row]), "score": float(scores[row]), "cosine": float(cosines[row])} for row in worst
        ],
    }


def _of_retrieval(
    texts: Sequence[tuple[str, ...]], numbers: NDArray[np.int64], vectors: Vectors, limit: int
) -> dict[str, Any]:
    together, apart = cosines_of(vectors), _apart(numbers, vectors)
    low = min(float(together.min()), float(apart.min()) if len(apart) else 1.0)
    edges = np.linspace(min(low, 0.999), 1.0, BINS + 1)
    counts = [np.histogram(np.clip(one, edges[0], 1.0), edges)[0].tolist() for one in (together, apart)]
    return {
        "edges": edges.tolist(),
        "together": counts[0],
        "apart": counts[1],
        "wrong": _missed(texts, numbers, vectors, limit),
    }


def _apart(numbers: NDArray[np.int64], vectors: Vectors) -> NDArray[np.float64]:
    """Cosines of first texts with second ones that don't belong to them, `SHIFTS` for each row at most."""
    belongs = {(int(first), int(second)) for first, second in numbers[:, :2]}
    found = []
    for shift in range(1, min(SHIFTS, len(numbers) - 1) + 1):
        seconds = np.roll(numbers[:, 1], -shift)
        keep = [
            first != second and (int(first), int(second)) not in belongs
            for first, second in zip(numbers[:, 0], seconds, strict=True)
        ]
        cosines = np.einsum("nd,nd->n", vectors[:, 0], np.roll(vectors[:, 1], -shift, axis=0), dtype=np.float64)
        found.append(cosines[keep])
    return np.concatenate(found) if found else np.zeros(0)


def _missed(
    texts: Sequence[tuple[str, ...]], numbers: NDArray[np.int64], vectors: Vectors, limit: int
) -> list[dict[str, Any]]:
    """The rows whose second text is farthest down among all different second texts, if it isn't the nearest."""
    _, places = np.unique(numbers[:, 1], return_index=True)
    candidates, index = vectors[places, 1], {int(numbers[place, 1]): at for at, place in enumerate(places)}
    belongs: dict[int, list[int]] = {}
    for first, second in numbers[:, :2].tolist():
        belongs.setdefault(first, []).append(index[second])
    ranks, nearest = np.empty(len(numbers), dtype=np.int64), np.empty(len(numbers), dtype=np.int64)
    step = max(1, BLOCK // len(candidates))
    for start in range(0, len(numbers), step):
        cosines = vectors[start : start + step, 0] @ candidates.T
        for line, (first, second) in enumerate(numbers[start : start + step, :2].tolist()):
            level = cosines[line, index[second]]
            cosines[line, [*belongs[first], index.get(first, index[second])]] = -np.inf
            ranks[start + line] = 1 + int((cosines[line] >= level).sum())
            nearest[start + line] = places[int(cosines[line].argmax())]
    _, once = np.unique(numbers[:, :2], axis=0, return_index=True)
    worst = sorted((int(row) for row in once if ranks[row] > 1), key=lambda row: (-ranks[row], row))[:limit]
    return [
        {
            "texts": list(texts[row][:2]),
            "rank": int(ranks[row]),
            "cosine": float(vectors[row, 0] @ vectors[row, 1]),
            "nearest": texts[nearest[row]][1],
            "nearest_cosine": float(vectors[row, 0] @ vectors[nearest[row], 1]),
        }
        for row in worst
    ]
