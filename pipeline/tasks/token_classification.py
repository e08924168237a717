"""Texts to the entities in them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.config.schema import DataSection
from pipeline.data import Dataset, Split
from pipeline.data.entities import load_entities, spans_at
from pipeline.data.entity_profile import profile_entities
from pipeline.data.spans import word_runs
from pipeline.model.load import Loaded
from pipeline.model.source import Source
from pipeline.model.tagger import load_merged_tagger, load_tagger
from pipeline.tasks.text import TextTask
from pipeline.train.entities import EntityRows, ForEntities
from pipeline.train.entity_metrics import entity_detail, entity_mistakes
from pipeline.train.learning import Learning, TrainRows
from pipeline.train.rows import count_tokens
from serve.answers import Prediction
from serve.entities import Run, kinds_of, runs_of
from serve.errors import UsageError
from serve.pieces import Output, Prepared
from serve.tagging import word_logits
from serve.words import Words, words_of

SHOWN = 12  # texts with mistakes that the report has


class TokenClassification(TextTask):
    """A tag for each word; what is told of it are entities."""

    name = "token-classification"

    def read(self, data: DataSection, seed: int) -> Dataset:
        if not isinstance(data.text, str):
            raise UsageError("data.text: entities are found in one text a row (got a pair)")
        return load_entities(
            train=data.train,
            validation=data.validation,
            test=data.test,
            text=None if data.text == _default("text") else data.text,
            label=None if data.label == _default("label") else data.label,
            validation_share=data.validation_share,
            seed=seed,
            format=data.format,
            dataset=data.dataset,
            dataset_config=data.dataset_config,
        )

    def profile(self, dataset: Dataset, loaded: Loaded, length: int) -> dict[str, Any]:
        return profile_entities(dataset, lambda texts: count_tokens(loaded.tokenizer, texts), length)

    def load(self, source: Source, labels: Sequence[str], *, pooling: str, dropout: float) -> Loaded:
        return _padding_right(load_tagger(source, labels, dropout=dropout))

    def merged(self, folder: Path) -> Loaded:
        return _padding_right(load_merged_tagger(folder))

    def learning(self, loaded: Loaded) -> Learning:
        return ForEntities(loaded.tokenizer, _tags(loaded))

    def rows(self, loaded: Loaded, split: Split, length: int, *, training: bool = False) -> TrainRows:
        return EntityRows(loaded.tokenizer, split, _tags(loaded), length)

    def detail(
        self, split: Split, labels: Sequence[str], rows: Sequence[Prepared], outputs: Sequence[Sequence[Output]]
    ) -> dict[str, Any]:
        truth = [word_runs(spans_at(split, row), text) for row, (text,) in enumerate(split.texts)]
        guess = [
            runs_of(word_logits(own, row.note).argmax(axis=-1), row.note.shared, labels)
            for row, own in zip(rows, outputs, strict=True)
        ]
        words = [row.note.words for row in rows]
        wrong = [place for place, (one, other) in enumerate(zip(truth, guess, strict=True)) if one != other]
        return {
            **entity_detail(truth, guess, [len(own) for own in words], kinds_of(labels)),
            "mistakes": entity_mistakes(truth, guess),
            "wrong": [
                {
                    "text": split.texts[place][0],
                    "entities": _spans(guess[place], words[place]),
                    "truth": _spans(truth[place], words[place]),
                }
                for place in wrong[:: max(1, len(wrong) // SHOWN)][:SHOWN]
            ],
        }

    def example(self, split: Split, labels: Sequence[str], place: int, answer: Prediction) -> dict[str, Any]:
        found = [(one.label, one.start, one.end, one.score) for one in answer.entities or ()]
        return {
            "text": (text := split.texts[place][0]),
            "entities": [dict(zip(("label", "start", "end", "score"), one, strict=True)) for one in found],
            "truth": _spans(word_runs(spans_at(split, place), text), words_of(text)),
        }


def _spans(runs: Sequence[Run], words: Words) -> list[dict[str, Any]]:
    """Entities by their characters."""
    return [{"label": run.kind, "start": int(words[run.first, 0]), "end": int(words[run.after - 1, 1])} for run in runs]


def _padding_right(loaded: Loaded) -> Loaded:
    """On a device as in training, where a token's label has its place from the left."""
    loaded.tokenizer.padding_side = "right"
    return loaded


def _tags(loaded: Loaded) -> list[str]:
    names: Any = loaded.model.config.id2label
    return [names[place] for place in range(len(names))]


def _default(key: str) -> Any:
    return DataSection.model_fields[key].default


TASK = TokenClassification()
