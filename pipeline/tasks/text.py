"""What all tasks on texts have in common: a tokenizer, and a graph that takes tokens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, cast

from export.parity import Batch, random_batches
from pipeline.config.schema import Config
from pipeline.data import Dataset, Split, profile
from pipeline.model.load import Loaded, load, load_merged, load_tokenizer
from pipeline.model.source import Source
from pipeline.train.learning import ForTexts, Learning, TrainRows
from pipeline.train.rows import Rows, count_tokens
from serve.manifest import InputSpec
from serve.pieces import Row


class TextTask:
    """A text, or a pair of texts, to one output."""

    name: str

    def profile(self, dataset: Dataset, loaded: Loaded, length: int) -> dict[str, Any]:
        return profile(dataset, lambda texts: count_tokens(loaded.tokenizer, texts), length)

    def load(self, source: Source, labels: Sequence[str], *, pooling: str, dropout: float) -> Loaded:
        return load(source, labels, pooling=pooling, dropout=dropout)

    def merged(self, folder: Path) -> Loaded:
        return Loaded(load_merged(folder), load_tokenizer(folder), (), "")

    def learning(self, loaded: Loaded) -> Learning:
        return ForTexts(loaded.tokenizer, self.name)

    def rows(self, loaded: Loaded, split: Split, length: int, *, training: bool = False) -> TrainRows:
        return Rows(loaded.tokenizer, split.texts, split.labels, length)

    def card(self, dataset: Dataset, config: Config) -> dict[str, Any]:
        return {"texts": len(dataset.train.texts[0])}

    def inputs(self, names: Sequence[str], loaded: Loaded, card: dict[str, Any]) -> InputSpec:
        tokenizer = loaded.tokenizer
        return InputSpec(
            text=card["texts"],
            names=tuple(names),
            max_length=card["max_length"],
            pad_id=int(tokenizer.pad_token_id),
            pad_type_id=tokenizer.pad_token_type_id,
            pad_token=str(tokenizer.pad_token),
            padding_side=cast(Literal["left", "right"], tokenizer.padding_side),
        )

    def batches(self, inputs: InputSpec, loaded: Loaded, length: int, seed: int) -> list[Batch]:
        config = loaded.model.config
        return random_batches(
            inputs.names,
            vocabulary=int(config.vocab_size),
            pad_id=inputs.pad_id,
            max_length=length,
            padding_side=inputs.padding_side,
            pad_type_id=inputs.pad_type_id,
            type_vocabulary=int(getattr(config, "type_vocab_size", 1) or 1),
            seed=seed,
        )

    def served(self, split: Split) -> list[Row]:
        return [row[0] if len(row) == 1 else (row[0], row[1]) for row in split.texts]
