"""What an embedder's training minimizes: cosines off given scores, or other texts nearer than the one that belongs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional

from pipeline.train.pair_rows import kind_of

SCALE = 20.0
"""Of cosines where texts are told from others, the inverse of the temperature 0.05."""


def losses(
    vectors: torch.Tensor, labels: torch.Tensor, *, dimensions: Sequence[int] = (), scale: float = SCALE
) -> torch.Tensor:
    """The loss of each row, float32 `(rows,)`; its mean is what is minimized.

    `vectors (rows, fields, d)` are the texts of each row, `labels (rows, 1 + fields)` its score and the number of each
    text, as `PairRows` has them: `likeness` for rows with scores, `ranking` for positives and triplets. With
    `dimensions` the loss is the mean of those of the vectors cut to each, so that their first part alone serves too
    (Matryoshka, arXiv 2205.13147).
    """
    scores, texts = labels[:, 0], labels[:, 1:]
    scored = kind_of(labels[0].tolist()) == "scores"
    found = []
    for size in dimensions or (vectors.shape[-1],):
        cut = functional.normalize(vectors[..., :size].float(), dim=-1)
        found.append(likeness(cut, scores) if scored else ranking(cut, texts, scale))
    return torch.stack(found).mean(0)


def likeness(vectors: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """The squared difference of each row's cosine to its score, from 0 to 1 (Sentence-BERT, arXiv 1908.10084, section
    3): `vectors (rows, 2, d)` of length 1 to `(rows,)`.

    CoSENT, which asks only for the order of scores, was tried beside it: 40 steps at the usual rate of 0.03 on jsts
    took the Spearman of MiniLM from 0.653 to 0.665 by this one, and down to 0.596 by CoSENT.
    """
    return ((vectors[:, 0] * vectors[:, 1]).sum(-1) - scores).square()


def ranking(vectors: torch.Tensor, texts: torch.Tensor, scale: float = SCALE) -> torch.Tensor:
    """Multiple negatives ranking (arXiv 1705.00652): each row's first text has to find its second among
    the second texts of all rows, and the third ones where there are any. Cross entropy of scaled cosines, `(rows,)`.

    `vectors (rows, 2 or 3, d)` of length 1, `texts (rows, 2 or 3)` the number of each text. What is no negative isn't
    counted as one: a text that is the first or second of the row, or a second text of another row with the same first.
    """
    rows = len(vectors)
    candidates = vectors[:, 1:].transpose(0, 1).flatten(0, 1)  # all second texts, then all third ones
    named = texts[:, 1:].T.flatten()
    cosines = scale * vectors[:, 0] @ candidates.T
    same = (named[None, :] == texts[:, :1]) | (named[None, :] == texts[:, 1:2])
    firsts = texts[:, 0]
    same[:, :rows] |= firsts[:, None] == firsts[None, :]
    own = torch.arange(rows, device=vectors.device)
    same[own, own] = False
    return functional.cross_entropy(cosines.masked_fill(same, float("-inf")), own, reduction="none")
