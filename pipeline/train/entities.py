"""Texts with entities as a tagger learns them: windows of tokens, of which a word's first carries its tag."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase

from pipeline.data.dataset import Split
from pipeline.data.entities import spans_at
from pipeline.data.spans import word_tags
from pipeline.train.entity_metrics import entity_detail, entity_scores
from pipeline.train.rows import IGNORED
from serve.entities import Run, kinds_of, runs_of
from serve.errors import InputError
from serve.windows import Windows, windows_of

_NAMES = {"input_ids": 0, "attention_mask": 1, "token_type_ids": 2}


@dataclass(frozen=True)
class _Words:
    """Where each word of all texts is answered: its row among the windows (-1: nowhere), the token there, and whether
    that is the token of the word before. Text i has the words from `bounds[i]` to before `bounds[i + 1]`."""

    row: NDArray[np.int64]
    token: NDArray[np.int64]
    shared: NDArray[np.bool_]
    bounds: NDArray[np.int64]


class EntityRows(Dataset[dict[str, Any]]):
    """The windows of a split's texts, tokenized as a device does, not padded; the sampler groups rows of like length.

    `encoded[i]` is a window's tokens; `labels[i]` has the place in `tags` of each token's tag, `IGNORED` for special
    tokens, later pieces of a word, and words that a neighbouring window answers for: each word is learned once.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, split: Split, tags: Sequence[str], max_length: int) -> None:
        """Raises InputError, which names the row, for a text that needs too many windows."""
        self.tags = tuple(tags)
        self.encoded: list[dict[str, list[int]]] = []
        self.labels: list[list[int]] = []
        self.truth: list[list[Run]] = []
        """The entities of each text."""
        core, names = _core(tokenizer), [name for name in _NAMES if name in tokenizer.model_input_names]
        texts, every = [row[0] for row in split.texts], []
        index = {tag: place for place, tag in enumerate(self.tags)}
        for place, text in enumerate(texts):
            windows = _windows(core, text, max_length, split, place)
            written = np.array([index[tag] for tag in word_tags(spans_at(split, place), text)], dtype=np.int64)
            self.truth.append(runs_of(written, np.zeros(len(written), dtype=bool), self.tags))
            every.append((len(self.encoded), windows))
            own = ~windows.shared
            for number, piece in enumerate(windows.pieces):
                labels = np.full(piece.shape[1], IGNORED, dtype=np.int64)
                mine = own & (windows.window == number)
                labels[windows.token[mine]] = written[mine]
                self.encoded.append({name: piece[_NAMES[name]].tolist() for name in names})
                self.labels.append(labels.tolist())
        self._words = _places(every)

    def __len__(self) -> int:
        return len(self.encoded)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {**self.encoded[index], "labels": self.labels[index]}

    def length(self, index: int) -> int:
        """Tokens of a window."""
        return len(self.labels[index])

    def guess(self, logits: NDArray[np.float32]) -> list[list[Run]]:
        """The entities of each text by the logits of all windows, (windows, longest, tags), padded on the right."""
        words, there = self._words, self._words.row >= 0
        best = np.zeros(len(there), dtype=np.intp)
        best[there] = logits[words.row[there], words.token[there]].argmax(-1)
        return [
            runs_of(best[start:after], words.shared[start:after], self.tags)
            for start, after in zip(words.bounds, words.bounds[1:], strict=False)
        ]

    def score(self, logits: NDArray[np.float32]) -> dict[str, float]:
        """Precision, recall and F1 of whole entities over all texts: an answer to `logits` as in `guess`."""
        return entity_scores(self.truth, self.guess(logits), np.diff(self._words.bounds).tolist())

    def detail(self, logits: NDArray[np.float32]) -> dict[str, Any]:
        """`score`, and each kind's."""
        sizes = np.diff(self._words.bounds).tolist()
        return entity_detail(self.truth, self.guess(logits), sizes, kinds_of(self.tags))


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


def _places(every: Sequence[tuple[int, Windows]]) -> _Words:
    """Of the windows of each text, the first of which is the row that is given with it."""
    row = [np.where(one.window < 0, -1, one.window + first) for first, one in every]
    bounds = np.cumsum([0, *(len(one.words) for _, one in every)])
    return _Words(
        np.concatenate(row),
        np.concatenate([one.token for _, one in every]),
        np.concatenate([one.shared for _, one in every]),
        bounds,
    )
