"""What a tagger's answers are worth: precision, recall and F1 of whole entities, by `seqeval`, strictly as IOB2."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from serve.entities import OUTSIDE, Run
from serve.errors import MissingDependency

ENTITY_METRICS = ("entity_f1", "entity_precision", "entity_recall")

Found = Sequence[Sequence[Run]]
"""The entities of each text, as runs of its words."""


def entity_scores(truth: Found, guess: Found, words: Sequence[int]) -> dict[str, float]:
    """Over all entities of texts with so many words each. An entity counts where its kind and both ends are right;
    what can't be divided is 0."""
    precision, recall, f1, _ = _measured(truth, guess, words, _kinds(truth, guess), "micro")
    return {"entity_f1": float(f1), "entity_precision": float(precision), "entity_recall": float(recall)}


def entity_detail(truth: Found, guess: Found, words: Sequence[int], kinds: Sequence[str]) -> dict[str, Any]:
    """`entity_scores`, and `per_class`: each kind's precision, recall, F1, and how many there are (`support`)."""
    there = [kind for kind in kinds if kind in _kinds(truth, guess)]
    columns = _measured(truth, guess, words, there, None) if there else ([], [], [], [])
    measured = {
        kind: {"label": kind, "precision": float(p), "recall": float(r), "f1": float(f), "support": int(n)}
        for kind, p, r, f, n in zip(there, *columns, strict=True)
    }
    absent = {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}
    return {
        **entity_scores(truth, guess, words),
        "per_class": [measured.get(kind, {"label": kind, **absent}) for kind in kinds],
    }


def entity_mistakes(truth: Found, guess: Found) -> dict[str, int]:
    """How often which mistake was made: `missed` (nothing was found there), `made_up` (there is none), and of those
    found where there is one: other `ends`, another `kind`, or `both`."""
    found = dict.fromkeys(("missed", "made_up", "ends", "kind", "both"), 0)
    for wanted, made in zip(truth, guess, strict=True):
        for run in set(made) - set(wanted):
            there = [one for one in wanted if one.first < run.after and run.first < one.after]
            if not there:
                found["made_up"] += 1
            elif any(one.kind == run.kind for one in there):
                found["ends"] += 1
            else:
                found["kind" if any(one[1:] == run[1:] for one in there) else "both"] += 1
        found["missed"] += sum(
            not any(one.first < run.after and run.first < one.after for run in made) for one in wanted
        )
    return found


def _kinds(truth: Found, guess: Found) -> list[str]:
    return sorted({run.kind for runs in (*truth, *guess) for run in runs})


def _measured(truth: Found, guess: Found, words: Sequence[int], kinds: Sequence[str], average: str | None) -> Any:
    """seqeval's precision, recall, F1 and support: one of each, or (without `average`) one for each kind."""
    if not kinds:
        return 0.0, 0.0, 0.0, 0
    try:
        measure = importlib.import_module("seqeval.metrics.v1").precision_recall_fscore_support
        scheme = importlib.import_module("seqeval.scheme").IOB2
    except ImportError as error:
        raise MissingDependency("seqeval", "train", "Measuring entities") from error
    names = {kind: f"{place:06}" for place, kind in enumerate(kinds)}  # seqeval strips hyphens, and orders by name
    written = [[_tags(runs, size, names) for runs, size in zip(found, words, strict=True)] for found in (truth, guess)]
    return measure(*written, average=average, scheme=scheme, zero_division=0)


def _tags(runs: Sequence[Run], words: int, names: dict[str, str]) -> list[str]:
    tags = [OUTSIDE] * words
    for kind, first, after in runs:
        tags[first:after] = [f"B-{names[kind]}", *[f"I-{names[kind]}"] * (after - first - 1)]
    return tags
