"""Texts with entities as a tagger learns them: windows of tokens, of which a word's first carries its tag."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch.nn import functional
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase

from pipeline.data.dataset import Split
from pipeline.data.entities import spans_at
from pipeline.data.spans import word_tags
from pipeline.train.entity_metrics import entity_scores
from pipeline.train.rows import IGNORED
from serve.entities import Run, runs_of
from serve.errors import InputError
from serve.windows import Windows, windows_of

_NAMES = {"input_ids": 0, "attention_mask": 1, "token_type_ids": 2}


class EntityRows(Dataset[dict[str, Any]]):
    """The windows of a split's texts, tokenized as a device does, not padded.

    `encoded[i]` is a window's tokens. `labels[i]` begins with 1 where it goes on with the text of the window before,
    else 0; then comes for each token the place of its tag in `tags`, or `IGNORED`: for special tokens, later pieces of
    a word, and words that a neighbouring window answers for. So each word is learned once.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, split: Split, tags: Sequence[str], max_length: int) -> None:
        """Raises InputError, which names the row, for a text that needs too many windows."""
        self.encoded: list[dict[str, list[int]]] = []
        self.labels: list[list[int]] = []
        core, names = _core(tokenizer), [name for name in _NAMES if name in tokenizer.model_input_names]
        index = {tag: place for place, tag in enumerate(tags)}
        for row, (text,) in enumerate(split.texts):
            windows = _windows(core, text, max_length, split, row)
            written = np.array([index[tag] for tag in word_tags(spans_at(split, row), text)], dtype=np.int64)
            for number, piece in enumerate(windows.pieces):
                labels = np.full(piece.shape[1], IGNORED, dtype=np.int64)
                mine = ~windows.shared & (windows.window == number)
                labels[windows.token[mine]] = written[mine]
                self.encoded.append({name: piece[_NAMES[name]].tolist() for name in names})
                self.labels.append([int(number > 0), *labels.tolist()])

    def __len__(self) -> int:
        return len(self.encoded)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {**self.encoded[index], "labels": self.labels[index]}

    def length(self, index: int) -> int:
        """Tokens of a window."""
        return len(self.encoded[index]["input_ids"])


class ForEntities:
    """Learning the tag of each word's first token; labels are those of `EntityRows`, padded with `IGNORED`."""

    output = "logits"
    by_length = True

    def __init__(self, tokenizer: PreTrainedTokenizerBase, tags: Sequence[str]) -> None:
        self._tokenizer, self._tags = tokenizer, tuple(tags)

    def collate(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Rows padded on the right, so that a token's label is one place after it."""
        inputs = [{key: value for key, value in row.items() if key != "labels"} for row in rows]
        batch = self._tokenizer.pad(inputs, return_tensors="pt", padding_side="right")
        labels = torch.full((len(rows), 1 + batch["input_ids"].shape[1]), IGNORED, dtype=torch.int64)
        for line, row in zip(labels, rows, strict=True):
            line[: len(row["labels"])] = torch.tensor(row["labels"])
        return {**batch, "labels": labels}

    def losses(
        self, answer: Any, labels: torch.Tensor, *, weight: torch.Tensor | None = None, smoothing: float = 0.0
    ) -> torch.Tensor:
        """Cross entropy of each labelled token, float32."""
        tags = labels[:, 1:]
        known = tags != IGNORED
        logits = answer.logits[known].float()
        return functional.cross_entropy(logits, tags[known], weight=weight, label_smoothing=smoothing, reduction="none")

    def score(self, outputs: NDArray[Any], labels: NDArray[Any]) -> dict[str, float]:
        """Precision, recall and F1 of whole entities; windows of one text follow each other.

        Words that share a token count as one, and words without any aren't seen: where there are such, the metrics of
        what is served, which count all words, may differ a little.
        """
        tags = labels[:, 1 : 1 + outputs.shape[1]]
        known = tags != IGNORED
        after = np.cumsum(known.sum(axis=1))  # of each window, among all labelled tokens
        bounds = [0, *after[[*(np.flatnonzero(labels[1:, 0] == 0)), len(labels) - 1]].tolist()]
        truth, guess = (self._runs(best[known], bounds) for best in (tags, outputs.argmax(-1)))
        return entity_scores(truth, guess, np.diff(bounds).tolist())

    def _runs(self, best: NDArray[Any], bounds: Sequence[int]) -> list[list[Run]]:
        parts = [best[start:after] for start, after in pairwise(bounds)]
        return [runs_of(part, np.zeros(len(part), dtype=bool), self._tags) for part in parts]


def _core(tokenizer: PreTrainedTokenizerBase) -> Tokenizer:
    """A copy of what tokenizes, as a device has it: without cutting and padding."""
    core = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    core.no_truncation()
    core.no_padding()
    return core


def _windows(core: Tokenizer, text: str, max_length: int, split: Split, row: int) -> Windows:
    try:
        return windows_of(core.encode(text), text, max_length)
    except InputError as error:
        at = f"{split.source}:{split.lines[row]}" if split.lines else f"{split.source}, row {row + 1}"
        raise InputError(f"{at}: {error}") from None
