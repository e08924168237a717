"""What a tagger learns of each token, and what its answers are worth."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from pipeline.data.dataset import Split
from pipeline.data.spans import Span, checked_spans
from pipeline.train.entities import EntityRows, ForEntities
from pipeline.train.entity_metrics import entity_detail, entity_mistakes, entity_scores
from pipeline.train.rows import IGNORED
from serve.entities import Run, tags_of
from serve.errors import InputError

TAGS = tags_of(("ill", "part"))
X = IGNORED


@pytest.fixture(scope="module")
def pieces() -> PreTrainedTokenizerFast:
    """Words in pieces of a letter, with BERT's special tokens; `z` is no token at all."""
    letters = "abcdefgh-"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *letters, *(f"##{letter}" for letter in letters)]
    core = Tokenizer(models.WordPiece({word: at for at, word in enumerate(words)}, unk_token="[UNK]"))  # noqa: S106
    core.normalizer = normalizers.Sequence([normalizers.Replace("z", ""), normalizers.Lowercase()])
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="[PAD]",  # noqa: S106
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def split(*rows: tuple[str, list[tuple[int, int, str]]]) -> Split:
    spans: Any = [checked_spans([Span(*span) for span in spans], text, "here") for text, spans in rows]
    return Split(
        "train", [(text,) for text, _ in rows], spans, "made.tsv", "", [10 * place for place in range(len(rows))]
    )


def perfect(rows: EntityRows, learning: ForEntities) -> tuple[np.ndarray, np.ndarray]:
    """Logits that give each labelled token its tag, and any other token a wrong one; the labels, padded alike."""
    labels = learning.collate([rows[place] for place in range(len(rows))])["labels"].numpy()
    return np.eye(len(TAGS), dtype=np.float32)[np.where(labels[:, 1:] < 0, 3, labels[:, 1:])], labels


def test_a_words_first_token_alone_carries_its_tag(pieces: PreTrainedTokenizerFast) -> None:
    rows = EntityRows(pieces, split(("ab c-d", [(3, 6, "ill")]), ("", []), ("H", [(0, 1, "part")])), TAGS, 16)
    ids = pieces.convert_tokens_to_ids
    assert rows.encoded[0]["input_ids"] == ids(["[CLS]", "a", "##b", "c", "-", "d", "[SEP]"])
    assert rows.labels == [[0, X, 0, X, 1, 2, 2, X], [0, X, X], [0, X, 3, X]]
    assert set(rows.encoded[0]) == {"input_ids", "attention_mask", "token_type_ids"}


def test_tokens_are_those_that_transformers_makes(pieces: PreTrainedTokenizerFast) -> None:
    texts = ["ab c-d", "", "h g f", "a" * 9]
    rows = EntityRows(pieces, split(*((text, []) for text in texts)), TAGS, 64)
    assert [row["input_ids"] for row in rows.encoded] == pieces(texts)["input_ids"]


def test_making_rows_leaves_the_tokenizer_as_it_is(pieces: PreTrainedTokenizerFast) -> None:
    pieces(["a b c"], truncation=True, max_length=3)
    before = pieces.backend_tokenizer.to_str()
    rows = EntityRows(pieces, split(("a b c", [])), TAGS, 64)
    assert rows.length(0) == 5
    assert pieces.backend_tokenizer.to_str() == before


def test_each_word_of_a_long_text_is_learned_in_one_window(pieces: PreTrainedTokenizerFast) -> None:
    text = "a b c d e f g h " * 3
    rows = EntityRows(pieces, split((text, [(0, 1, "ill"), (18, 25, "part")])), TAGS, 10)
    assert len(rows) > 3 and all(rows.length(place) <= 10 for place in range(len(rows)))
    assert [labels[0] for labels in rows.labels] == [0, *[1] * (len(rows) - 1)]
    labelled = [label for labels in rows.labels for label in labels[1:] if label != IGNORED]
    assert labelled == [1, *[0] * 8, 3, 4, 4, 4, *[0] * 11]


@pytest.fixture
def learning(pieces: PreTrainedTokenizerFast) -> ForEntities:
    return ForEntities(pieces, TAGS)


def test_perfect_answers_score_one_across_windows_and_ignore_what_carries_no_tag(
    pieces: PreTrainedTokenizerFast, learning: ForEntities
) -> None:
    long = "a b c d e f g h " * 3
    rows = EntityRows(pieces, split((long, [(0, 37, "ill")]), ("zz a", [(3, 4, "part")]), ("", [])), TAGS, 10)
    assert len(rows) > 5
    assert learning.score(*perfect(rows, learning)) == {
        "entity_f1": 1.0,
        "entity_precision": 1.0,
        "entity_recall": 1.0,
    }


def test_an_entity_in_two_windows_counts_once(pieces: PreTrainedTokenizerFast, learning: ForEntities) -> None:
    long = "a b c d e f g h a b"
    rows = EntityRows(pieces, split(("a", [(0, 1, "ill")]), (long, [(0, 19, "ill")])), TAGS, 10)
    logits, labels = perfect(rows, learning)
    logits[2, labels[2, 1:] >= 0] = np.eye(len(TAGS))[0]  # the second window finds nothing
    assert len(rows) == 3
    assert learning.score(logits, labels)["entity_f1"] == 0.5


def test_only_whole_entities_count(pieces: PreTrainedTokenizerFast, learning: ForEntities) -> None:
    rows = EntityRows(pieces, split(("a b c", [(0, 3, "ill")]), ("d e", [(0, 1, "part")])), TAGS, 10)
    logits, labels = perfect(rows, learning)
    logits[0, 2] = np.eye(len(TAGS))[0]  # the second word of the first entity is left out
    logits[1, 2] = np.eye(len(TAGS))[1]  # and one is made up
    found = learning.score(logits, labels)
    assert (found["entity_precision"], found["entity_recall"]) == (pytest.approx(1 / 3), 0.5)


def test_a_batch_is_padded_with_what_is_ignored(pieces: PreTrainedTokenizerFast, learning: ForEntities) -> None:
    pieces.padding_side = "left"
    rows = EntityRows(pieces, split(("a b c", [(0, 3, "ill")]), ("d", [])), TAGS, 10)
    batch = learning.collate([rows[0], rows[1]])
    pieces.padding_side = "right"
    assert batch["labels"].tolist() == [[0, X, 1, 2, 0, X], [0, X, 0, X, X, X]]
    assert batch["attention_mask"].tolist() == [[1] * 5, [1, 1, 1, 0, 0]]


def test_the_loss_is_that_of_labelled_tokens_alone(pieces: PreTrainedTokenizerFast, learning: ForEntities) -> None:
    rows = EntityRows(pieces, split(("ab", [(0, 2, "ill")]), ("d e", [])), TAGS, 10)
    labels = learning.collate([rows[0], rows[1]])["labels"]
    logits = torch.randn(2, 4, len(TAGS))
    wanted = torch.stack([-logits[0, 1].log_softmax(-1)[1], -logits[1, 1].log_softmax(-1)[0]])
    found = learning.losses(SimpleNamespace(logits=logits), labels)
    assert torch.allclose(found[:2], wanted) and len(found) == 3


def test_a_text_that_needs_too_many_windows_is_named(pieces: PreTrainedTokenizerFast) -> None:
    with pytest.raises(InputError, match=r"^made\.tsv:10: a text of 3,000 tokens needs more than 256 windows of 10"):
        EntityRows(pieces, split(("a", []), ("a " * 3000, [])), TAGS, 10)


def runs(*found: tuple[str, int, int]) -> list[Run]:
    return [Run(*run) for run in found]


def test_scores_of_nothing_are_zero() -> None:
    assert entity_scores([[]], [[]], [4]) == {"entity_f1": 0.0, "entity_precision": 0.0, "entity_recall": 0.0}
    assert entity_scores([], [], []) == {"entity_f1": 0.0, "entity_precision": 0.0, "entity_recall": 0.0}
    assert entity_detail([[]], [[]], [4], ["x"])["per_class"] == [
        {"label": "x", "precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}
    ]


def test_kinds_with_hyphens_stay_apart() -> None:
    kinds = ["a", "a-", "-a", "B-a"]
    truth = [[Run(kind, place, place + 1)] for place, kind in enumerate(kinds)]
    found = entity_detail(truth, [*truth[:2], [], []], [4] * 4, kinds)
    assert [(one["label"], one["recall"]) for one in found["per_class"]] == list(zip(kinds, (1, 1, 0, 0), strict=True))


ENTITIES = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3), st.sampled_from("ab")), max_size=4).map(
    lambda parts: _laid(parts)
)


def _laid(parts: list[tuple[int, int, str]]) -> list[Run]:
    found, place = [], 0
    for gap, size, kind in parts:
        found.append(Run(kind, place + gap, place + gap + size))
        place += gap + size
    return found


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(ENTITIES, ENTITIES), min_size=1, max_size=4))
def test_seqeval_counts_as_sets_of_entities_do(rows: list[tuple[list[Run], list[Run]]]) -> None:
    truth, guess = [row[0] for row in rows], [row[1] for row in rows]
    right = sum(len(set(one) & set(other)) for one, other in rows)
    there, made = sum(map(len, truth)), sum(map(len, guess))
    found = entity_scores(truth, guess, [20] * len(rows))
    assert found["entity_precision"] == pytest.approx(right / made if made else 0)
    assert found["entity_recall"] == pytest.approx(right / there if there else 0)
    assert found["entity_f1"] == pytest.approx(2 * right / (made + there) if right else 0)


def test_mistakes_are_told_apart() -> None:
    truth = [runs(("a", 0, 2), ("a", 4, 6), ("a", 8, 9), ("b", 12, 13), ("b", 20, 22))]
    guess = [runs(("a", 0, 2), ("a", 5, 6), ("b", 8, 9), ("a", 15, 16), ("a", 20, 21))]
    assert entity_mistakes(truth, guess) == {"missed": 1, "made_up": 1, "ends": 1, "kind": 1, "both": 1}
