"""Entities of the benchmark: the sentences that are used, and that the product reads and scores them."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from pipeline.model.load import Loaded
from pipeline.train.rows import IGNORED

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
TSV = "the\tO\nhot\tB-Disease\npump\tI-Disease\n\ncold\tB-Disease\n\n"


@pytest.fixture
def entities(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """benchmarks/entities.py, which is no part of a package."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import entities

    monkeypatch.delitem(sys.modules, "entities")
    return entities


@pytest.fixture
def problem(entities: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Two sentences in each split, of which one is used to validate."""
    (tmp_path / "ills").mkdir()
    for split in ("train", "dev", "test"):
        (tmp_path / "ills" / f"{split}.tsv").write_text(TSV)
    monkeypatch.setattr(entities, "DATA", tmp_path)
    return entities.EntityProblem("ills", "nowhere", (0, 1, 2))


def test_a_split_is_all_its_sentences_or_the_first(problem: Any, tokenizer: PreTrainedTokenizerFast) -> None:
    loaded = Loaded(None, tokenizer, (), "")  # type: ignore[arg-type]
    assert problem.dataset.labels == ("O", "B-Disease", "I-Disease")
    assert [len(problem.rows(split, loaded)) for split in ("train", "validation", "test")] == [2, 1, 2]
    assert problem.rows("train", loaded).labels[0] == [0, IGNORED, 0, 1, 2, IGNORED]


def test_only_whole_entities_score_and_padding_does_not(problem: Any, tokenizer: PreTrainedTokenizerFast) -> None:
    loaded = Loaded(None, tokenizer, (), "")  # type: ignore[arg-type]
    learning, rows = problem.learning(loaded), problem.rows("test", loaded)
    labels = learning.collate([rows[place] for place in range(len(rows))])["labels"].numpy()
    guess = np.array([[1, 0, 1, 0, 1], [0, 1, 1, 1, 1]])  # half of the first entity, and the second
    found = problem.score(learning, np.eye(3)[guess], labels)
    assert found == {"entity_f1": 0.5, "entity_precision": 0.5, "entity_recall": 0.5}


def test_a_problem_goes_to_another_process(problem: Any) -> None:
    import pickle

    assert len(problem.dataset.train.texts) == 2
    state = pickle.dumps(problem.__dict__)
    assert pickle.loads(state)["dataset"] == problem.dataset  # noqa: S301
