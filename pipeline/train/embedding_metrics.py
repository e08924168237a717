"""What embeddings are worth: order kept with given scores, or texts found that belong together."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import pearsonr, spearmanr

from pipeline.train.pair_rows import kind_of

CUTS = (1, 5, 10)
BLOCK = 2**24
"""Cosines that are held at once, 64 MB."""

Vectors = NDArray[np.float32]


def score_pairs(vectors: Vectors, labels: NDArray[np.float32]) -> dict[str, float]:
    """The metrics of rows by their kind: `score_scores`, or `score_retrieval` for positives and triplets.

    `vectors (rows, fields, d)` of length 1, `labels (rows, 1 + fields)` as `PairRows` has them.
    """
    if kind_of(labels[0].tolist()) == "scores":
        return score_scores(vectors, labels[:, 0].tolist())
    return score_retrieval(labels[:, 1:].astype(np.int64).tolist(), vectors)


def score_scores(vectors: Vectors, scores: Sequence[float]) -> dict[str, float]:
    """Spearman's and Pearson's correlation of the cosines of `vectors (rows, 2, d)` with the scores; 0 where either is
    constant."""
    cosines = cosines_of(vectors)
    truth = np.asarray(scores, dtype=np.float64)
    constant = len(truth) < 2 or np.ptp(cosines) == 0 or np.ptp(truth) == 0
    return {
        "cosine_spearman": 0.0 if constant else float(spearmanr(truth, cosines).statistic),
        "cosine_pearson": 0.0 if constant else float(pearsonr(truth, cosines).statistic),
    }


def cosines_of(vectors: Vectors) -> NDArray[np.float64]:
    """The cosine of each row's first two texts, `(rows,)`, from `vectors (rows, fields, d)` of length 1."""
    found: NDArray[np.float64] = np.einsum("nd,nd->n", vectors[:, 0], vectors[:, 1], dtype=np.float64)
    return found


def score_retrieval(texts: Sequence[Sequence[Hashable]], vectors: Vectors) -> dict[str, float]:
    """How well each different first text finds what belongs to it among all second (and third) texts of the split.

    `vectors (rows, fields, d)` of length 1, `texts` what each is of, by name or number. Texts that are the same are one
    candidate; what belongs to a first text are the second texts of all its rows; a first text isn't its own candidate
    unless it belongs to itself. A tie counts against it. `recall_at_k` is the share of what belongs to a text that is
    among the k nearest, averaged over texts; `mrr_at_10` the mean of 1 / rank of the nearest of them, 0 beyond rank 10.
    Triplets also have `triplet_accuracy`, the share of rows whose second text is nearer than the third.
    """
    ranks, queries = _ranks(texts, vectors)
    count = np.bincount(queries)
    found = {f"recall_at_{cut}": float((np.bincount(queries, weights=ranks <= cut) / count).mean()) for cut in CUTS}
    best = np.full(len(count), np.iinfo(np.int64).max)
    np.minimum.at(best, queries, ranks)
    found["mrr_at_10"] = float(np.where(best <= 10, 1.0 / best, 0.0).mean())
    if vectors.shape[1] == 3:
        near, far = (np.einsum("nd,nd->n", vectors[:, 0], vectors[:, field]) for field in (1, 2))
        found["triplet_accuracy"] = float((near > far).mean())
    return found


def _ranks(texts: Sequence[Sequence[Hashable]], vectors: Vectors) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each different (first, second) text: the second's rank from 1 for the first, and which first text it is."""
    places: dict[Hashable, tuple[int, int]] = {}  # a candidate's text, to the row and field that has it
    for field in range(1, vectors.shape[1]):
        for row, fields in enumerate(texts):
            places.setdefault(fields[field], (row, field))
    candidates = vectors[tuple(np.array(list(places.values())).T)]
    index = {text: place for place, text in enumerate(places)}
    pairs = list(dict.fromkeys((fields[0], fields[1]) for fields in texts))
    row_of: dict[Hashable, int] = {}
    for row, fields in enumerate(texts):
        row_of.setdefault(fields[0], row)
    query_of = {text: place for place, text in enumerate(row_of)}
    ranks = np.empty(len(pairs), dtype=np.int64)
    step = max(1, BLOCK // len(candidates))
    for start in range(0, len(pairs), step):
        part = pairs[start : start + step]
        cosines = vectors[[row_of[first] for first, _ in part], 0] @ candidates.T
        own = np.array([index[second] for _, second in part])
        level = cosines[np.arange(len(part)), own][:, None]
        for line, (first, second) in enumerate(part):
            if first != second and first in index:
                cosines[line, index[first]] = -np.inf
        ranks[start : start + step] = (cosines >= level).sum(1)
    return ranks, np.array([query_of[first] for first, _ in pairs])
