"""Entities in text as a problem to compare methods on: words with BIO tags, scored by entity F1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from transformers import AutoModelForTokenClassification

from pipeline.model.load import Loaded, load_tokenizer
from pipeline.model.source import resolve
from pipeline.train.learning import ForTexts
from pipeline.train.metrics import TOKENS
from pipeline.train.rows import IGNORED, Rows

DATA = Path(__file__).parents[2] / "shared" / "data" / "ner"
Sentence = list[tuple[str, str]]


@dataclass(frozen=True)
class EntityProblem:
    """A dataset of `../shared/data/ner` and how many sentences of each split are used (0: all), the first ones."""

    name: str
    base: str
    sizes: tuple[int, int, int]
    """Of train, validation, test."""
    max_length: int = 128

    task = TOKENS
    metric = "entity_f1"

    def model(self) -> Loaded:
        folder = resolve(self.base).folder
        model = AutoModelForTokenClassification.from_pretrained(folder, num_labels=len(self.tags), dtype="float32")
        return Loaded(model, load_tokenizer(folder), ("classifier",), "architecture")

    @cached_property
    def tags(self) -> list[str]:
        """Every tag of the training file, `O` first."""
        return sorted(
            {tag for sentence in self.sentences("train", 0) for _, tag in sentence}, key=lambda t: (t != "O", t)
        )

    def sentences(self, split: str, count: int) -> list[Sentence]:
        """The first `count` sentences of a split: words with their tags."""
        file = DATA / self.name / f"{'dev' if split == 'validation' else split}.tsv"
        found: list[Sentence] = []
        for block in file.read_text("utf-8").split("\n\n"):
            rows = [line.split("\t") for line in block.splitlines() if "\t" in line]
            if rows:
                found.append([(row[0], row[-1]) for row in rows])
        return found[:count] if count else found

    def learning(self, loaded: Loaded) -> ForTexts:
        return ForTexts(loaded.tokenizer, self.task)

    def rows(self, split: str, loaded: Loaded) -> Rows:
        """Each word's tag is its first piece's; the other pieces have none."""
        sentences = self.sentences(split, self.sizes[("train", "validation", "test").index(split)])
        rows = Rows(loaded.tokenizer, [], [], self.max_length)
        for sentence in sentences:
            words = [word for word, _ in sentence]
            encoded = loaded.tokenizer(words, is_split_into_words=True, truncation=True, max_length=self.max_length)
            rows.encoded.append({key: list(value) for key, value in encoded.items()})
            rows.labels.append(aligned(encoded.word_ids(), [self.tags.index(tag) for _, tag in sentence]))
        return rows

    def score(self, logits: Any, labels: Any) -> dict[str, float]:
        """Entity precision, recall and F1: an entity counts where its type and both ends are right."""
        guess = np.asarray(logits).argmax(-1)
        right = made = there = 0
        for row, truth in zip(guess, np.asarray(labels), strict=True):
            known = truth != IGNORED
            wanted, found = (spans([self.tags[place] for place in values[known]]) for values in (truth, row))
            right, made, there = right + len(wanted & found), made + len(found), there + len(wanted)
        precision, recall = right / max(1, made), right / max(1, there)
        f1 = 2 * precision * recall / max(1e-12, precision + recall)
        return {"entity_f1": f1, "entity_precision": precision, "entity_recall": recall}


def aligned(words: Sequence[int | None], tags: Sequence[int]) -> list[int]:
    """The label of each token, given the word that it is a piece of: the word's tag for its first piece, else
    `IGNORED`."""
    before = [None, *words]
    return [IGNORED if word is None or word == last else tags[word] for word, last in zip(words, before, strict=False)]


def spans(tags: list[str]) -> set[tuple[int, int, str]]:
    """`(first, after last, type)` of each entity; an `I-` that continues nothing begins one, as conlleval has it."""
    found, begun = set(), None
    for place, tag in enumerate([*tags, "O"]):
        prefix, _, kind = tag.partition("-")
        if begun is not None and (prefix != "I" or kind != begun[1]):
            found.add((begun[0], place, begun[1]))
            begun = None
        if prefix != "O" and begun is None:
            begun = (place, kind)
    return found
