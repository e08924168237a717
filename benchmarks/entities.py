"""Entities in text as a problem to compare methods on: read, learned and scored as the product does."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.data import Dataset, Split
from pipeline.data.entities import ENTITIES, load_entities
from pipeline.model.load import Loaded
from pipeline.model.source import resolve
from pipeline.model.tagger import load_tagger
from pipeline.train.entities import EntityRows, ForEntities
from pipeline.train.learning import Learning

DATA = Path(__file__).parents[2] / "shared" / "data" / "ner"


@dataclass(frozen=True)
class EntityProblem:
    """A dataset of `../shared/data/ner` and how many sentences of each split are used (0: all), the first ones."""

    name: str
    base: str
    sizes: tuple[int, int, int]
    """Of train, validation, test."""
    max_length: int = 128

    task = ENTITIES
    metric = "entity_f1"

    @cached_property
    def dataset(self) -> Dataset:
        folder = DATA / self.name
        return load_entities(train=folder / "train.tsv", validation=folder / "dev.tsv", test=folder / "test.tsv")

    def model(self) -> Loaded:
        return load_tagger(resolve(self.base), self.dataset.labels)

    def learning(self, loaded: Loaded) -> ForEntities:
        return ForEntities(loaded.tokenizer, self.dataset.labels)

    def split(self, name: str) -> Split:
        """The sentences of a split that are used."""
        every = {split.name: split for split in self.dataset.splits()}
        count = self.sizes[list(every).index(name)]
        return every[name].first(count) if count else every[name]

    def rows(self, split: str, loaded: Loaded) -> EntityRows:
        return EntityRows(loaded.tokenizer, self.split(split), self.dataset.labels, self.max_length)

    def score(self, learning: Learning, outputs: Any, labels: Any) -> dict[str, float]:
        return learning.score(outputs, labels)
