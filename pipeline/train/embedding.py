"""What an embedder's training minimizes: scores kept in order, or each text nearest to the one that belongs to it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional

from pipeline.train.pair_rows import kind_of

SCALE = 20.0
"""Of cosines in both losses, the inverse of the temperature 0.05."""


def losses(
    vectors: torch.Tensor, labels: torch.Tensor, *, dimensions: Sequence[int] = (), scale: float = SCALE
) -> torch.Tensor:
    """The loss of each row, float32 `(rows,)`; its mean is what is minimized.

    `vectors (rows, fields, d)` are the texts of each row, `labels (rows, 1 + fields)` its score and the number of each
    text, as `PairRows` has them: `cosent` for rows with scores, `ranking` for positives and triplets. With
    `dimensions` the loss is the mean of those of the vectors cut to each, so that their first part alone serves too
    (Matryoshka, arXiv 2205.13147).
    """
    scores, texts = labels[:, 0], labels[:, 1:]
    scored = kind_of(labels[0].tolist()) == "scores"
    found = []
    for size in dimensions or (vectors.shape[-1],):
        cut = functional.normalize(vectors[..., :size].float(), dim=-1)
        found.append(cosent(cut, scores, scale) if scored else ranking(cut, texts, scale))
    return torch.stack(found).mean(0)


def cosent(vectors: torch.Tensor, scores: torch.Tensor, scale: float = SCALE) -> torch.Tensor:
    """CoSENT (kexue.fm/archives/8847; also in AnglE, arXiv 2309.12871): `log(1 + Σ exp(scale (cos_j - cos_i)))`
    over all pairs of rows where i has the higher score. Only the order of scores matters, as in Spearman's correlation.

    `vectors (rows, 2, d)` of length 1; the batch's loss, once for each row: `(rows,)`.
    """
    cosines = scale * (vectors[:, 0] * vectors[:, 1]).sum(-1)
    wrong = cosines[None, :] - cosines[:, None]  # [i, j]: how far j is above i
    higher = scores[:, None] > scores[None, :]
    terms = wrong.masked_fill(~higher, float("-inf")).flatten()
    total = torch.logsumexp(torch.cat([terms.new_zeros(1), terms]), 0)
    return total.expand(len(vectors))


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
