"""Entities of the benchmark: which tokens carry a word's tag, and which tags are an entity."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from pipeline.model.load import Loaded
from pipeline.train.rows import IGNORED

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
TSV = "the\tO\nbreast\tB-Disease\ncancers\tI-Disease\n\ncold\tB-Disease\n\n"


@pytest.fixture
def entities(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """benchmarks/entities.py, which is no part of a package."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import entities

    monkeypatch.delitem(sys.modules, "entities")
    return entities


@pytest.fixture
def problem(entities: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Two sentences in each split."""
    (tmp_path / "ills").mkdir()
    for split in ("train", "dev", "test"):
        (tmp_path / "ills" / f"{split}.tsv").write_text(TSV)
    monkeypatch.setattr(entities, "DATA", tmp_path)
    return entities.EntityProblem("ills", "nowhere", (0, 1, 2))


@pytest.fixture
def pieces() -> PreTrainedTokenizerFast:
    """Words in pieces: `cancers` is `can`, `##cer`, `##s`."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "breast", "can", "##cer", "##s", "cold"]
    core = Tokenizer(models.WordPiece({word: at for at, word in enumerate(words)}, unk_token="[UNK]"))  # noqa: S106
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token="[PAD]")  # noqa: S106


@pytest.mark.parametrize(
    ("tags", "wanted"),
    [
        ([], set()),
        (["O", "O"], set()),
        (["B-a", "I-a", "O"], {(0, 2, "a")}),
        (["O", "B-a"], {(1, 2, "a")}),
        (["B-a", "B-a"], {(0, 1, "a"), (1, 2, "a")}),
        (["B-a", "I-b"], {(0, 1, "a"), (1, 2, "b")}),
        (["I-a", "I-a", "O", "I-a"], {(0, 2, "a"), (3, 4, "a")}),
    ],
)
def test_entities_are_read_off_tags_as_conlleval_reads_them(
    entities: ModuleType, tags: list[str], wanted: set[tuple[int, int, str]]
) -> None:
    assert entities.spans(tags) == wanted


def test_a_words_first_piece_alone_carries_its_tag(problem: Any, pieces: PreTrainedTokenizerFast) -> None:
    assert problem.tags == ["O", "B-Disease", "I-Disease"]
    rows = problem.rows("train", Loaded(None, pieces, (), ""))  # type: ignore[arg-type]
    assert [row["input_ids"] for row in rows.encoded] == [[2, 4, 5, 6, 7, 8, 3], [2, 9, 3]]
    assert rows.labels == [[IGNORED, 0, 1, 2, IGNORED, IGNORED, IGNORED], [IGNORED, 1, IGNORED]]
    assert len(problem.rows("validation", Loaded(None, pieces, (), ""))) == 1  # type: ignore[arg-type]


def test_a_cut_row_has_a_label_for_each_token_that_is_left(
    entities: ModuleType, problem: Any, pieces: PreTrainedTokenizerFast
) -> None:
    short = entities.EntityProblem(problem.name, problem.base, problem.sizes, max_length=5)
    rows = short.rows("train", Loaded(None, pieces, (), ""))  # type: ignore[arg-type]
    assert rows.encoded[0]["input_ids"] == [2, 4, 5, 6, 3]
    assert rows.labels[0] == [IGNORED, 0, 1, 2, IGNORED]


def test_only_whole_entities_score_and_padding_does_not(problem: Any) -> None:
    truth = np.array([[IGNORED, 0, 1, 2, IGNORED], [IGNORED, 1, IGNORED, IGNORED, IGNORED]])
    guess = np.array([[1, 0, 1, 0, 1], [0, 1, 1, 1, 1]])  # half of the first entity, and the second
    found = problem.score(np.eye(3)[guess], truth)
    assert found == {"entity_f1": 0.5, "entity_precision": 0.5, "entity_recall": 0.5}
