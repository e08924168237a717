"""Text to the graph's inputs by `tokenizers` alone, the same numbers as transformers' fast tokenizers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding, Tokenizer

from serve.bundle import TOKENIZER, Bundle
from serve.errors import InputError
from serve.manifest import InputSpec
from serve.windows import Windows, windows_of

TextRow: TypeAlias = str | tuple[str, str]
Tokens: TypeAlias = npt.NDArray[np.int64]
"""One encoded row, (3, tokens): ids, attention mask, types."""
MAX_TOKENIZER_BYTES = 256 * 2**20

_PLACES = {"input_ids": 0, "attention_mask": 1, "token_type_ids": 2}


class TextTokenizer:
    """Batches of texts (or pairs) to int64 arrays (batch, sequence), one for each input of the graph.

    Equal to `tok(texts, pairs, padding=True, truncation=True, max_length=n)` in transformers: the longer of
    a pair is cut first, on the side that tokenizer.json names, and rows are padded to the batch's longest.
    """

    def __init__(self, bundle: Bundle) -> None:
        spec = bundle.manifest.input
        if not isinstance(spec, InputSpec):
            raise InputError(f"bundle {bundle.path}: takes images, no text")
        self._prepare(bundle.file(TOKENIZER), spec)

    @classmethod
    def from_file(cls, path: Path, spec: InputSpec) -> TextTokenizer:
        """The same from a tokenizer.json outside a bundle (one that is being made)."""
        made = cls.__new__(cls)
        made._prepare(path, spec)
        return made

    def _prepare(self, path: Path, spec: InputSpec) -> None:
        try:
            if path.stat().st_size > MAX_TOKENIZER_BYTES:
                raise InputError(f"{path}: larger than {MAX_TOKENIZER_BYTES} bytes")
            tokenizer = Tokenizer.from_file(str(path))
        except InputError:
            raise
        except Exception as error:  # tokenizers raises bare Exception for whatever it can't read
            raise InputError(f"{path}: tokenizers can't read it ({error})") from error
        self._cut_left = (tokenizer.truncation or {}).get("direction") == "left"
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self._spec = spec

    def __call__(self, rows: Sequence[TextRow]) -> dict[str, npt.NDArray[np.int64]]:
        """Input name → int64 (len(rows), longest row), for exactly the graph's inputs.

        Raises InputError for no rows, and for rows that are no text, no Unicode, or don't fit `max_length` at all.
        """
        if not rows:
            raise InputError("no rows to tokenize; give at least one text")
        return self.pad([self.encode(row) for row in rows])

    def pad(self, columns: Sequence[Tokens]) -> dict[str, npt.NDArray[np.int64]]:
        """Encoded rows to a batch: input name → int64 (len(columns), longest row)."""
        longest = max(column.shape[1] for column in columns)
        left = self._spec.padding_side == "left"
        padding = {"input_ids": self._spec.pad_id, "attention_mask": 0, "token_type_ids": self._spec.pad_type_id}
        result = {}
        for name in self._spec.names:
            batch = np.full((len(columns), longest), padding[name], dtype=np.int64)
            for line, column in zip(batch, columns, strict=True):
                size = column.shape[1]
                line[longest - size if left else 0 : longest if left else size] = column[_PLACES[name]]
            result[name] = batch
        return result

    def split(self, outputs: npt.NDArray[np.float32], pieces: Sequence[Tokens]) -> list[npt.NDArray[np.float32]]:
        """A padded batch's outputs, (batch, width) or (batch, sequence, width), to those of its rows: (width,), or
        (tokens, width) without the padding."""
        if outputs.ndim == 2:
            return list(outputs)
        sizes, left = [piece.shape[1] for piece in pieces], self._spec.padding_side == "left"
        return [row[-size:] if left else row[:size] for row, size in zip(outputs, sizes, strict=True)]

    def encode(self, row: TextRow, max_length: int | None = None) -> Tokens:
        """One row, cut (to `max_length`, or the bundle's if that is shorter) but not padded.

        It is cut here, as `tokenizers` would also build every overflowing piece, for a pair all pieces of the one
        by all of the other: gigabytes for two long texts.
        """
        encoding, limit = self._encoded(row), self._limit(max_length)
        columns = np.array([encoding.ids, encoding.attention_mask, encoding.type_ids], dtype=np.int64)
        if columns.shape[1] <= limit:
            return columns
        owners = np.array([-1 if owner is None else owner for owner in encoding.sequence_ids])
        places = [np.flatnonzero(owners == sequence) for sequence in (0, 1)]
        room = limit - int((owners < 0).sum())
        if room < 0:
            raise InputError(f"max_length {limit} has no room for the special tokens alone")
        keep = owners < 0
        for place, size in zip(places, cut_sizes(len(places[0]), len(places[1]), room), strict=True):
            keep[place[len(place) - size :] if self._cut_left else place[:size]] = True
        return columns[:, keep]

    def windows(self, text: str, max_length: int | None = None) -> Windows:
        """A whole text in windows of at most `max_length` tokens, or the bundle's if that is shorter.

        Raises InputError for no Unicode, and for a text that needs too many.
        """
        return windows_of(self._encoded(text), text, self._limit(max_length))

    def whole_length(self, row: TextRow) -> int:
        """Tokens of a row that nothing cuts. Raises InputError for no Unicode."""
        return len(self._encoded(row).ids)

    def _limit(self, max_length: int | None) -> int:
        return min(max_length or self._spec.max_length, self._spec.max_length)

    def _encoded(self, row: TextRow) -> Encoding:
        try:
            return self._tokenizer.encode(*((row,) if isinstance(row, str) else row))
        except (UnicodeEncodeError, TypeError) as error:  # which of them differs by version
            raise InputError(
                "a row is no text, or holds half a surrogate pair, which is no Unicode; try mending its encoding"
            ) from error


def cut_sizes(first: int, second: int, room: int) -> tuple[int, int]:
    """Tokens left of each text of a pair in `room` tokens, the longer cut first ("longest_first")."""
    short, long = sorted((first, second))
    if first + second > room:
        long = room - short
        if long < short:
            short, long = room // 2, room - room // 2
    return (long, short) if first > second else (short, long)
