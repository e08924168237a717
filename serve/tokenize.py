"""Text to the graph's inputs by `tokenizers` alone, the same numbers as transformers' fast tokenizers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from serve.bundle import TOKENIZER, Bundle
from serve.errors import InputError
from serve.manifest import InputSpec

Row: TypeAlias = str | tuple[str, str]
MAX_TOKENIZER_BYTES = 256 * 2**20

_FIELDS = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}


class TextTokenizer:
    """Batches of texts (or pairs) to int64 arrays (batch, sequence), one for each input of the graph.

    Equal to `tok(texts, pairs, padding=True, truncation=True, max_length=n)` in transformers: the longer of
    a pair is cut first, on the side that tokenizer.json names, and rows are padded to the batch's longest.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._prepare(bundle.file(TOKENIZER), bundle.manifest.input)

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
        cut = tokenizer.truncation or {}
        tokenizer.enable_truncation(
            max_length=spec.max_length, strategy="longest_first", direction=cut.get("direction", "right")
        )
        tokenizer.enable_padding(
            direction=spec.padding_side,
            pad_id=spec.pad_id,
            pad_type_id=spec.pad_type_id,
            pad_token=spec.pad_token,
        )
        self._tokenizer = tokenizer
        self._names = spec.names

    def __call__(self, rows: Sequence[Row]) -> dict[str, npt.NDArray[np.int64]]:
        """Input name → int64 (len(rows), longest row), for exactly the graph's inputs.

        Raises InputError for no rows, and for text that is no Unicode (half a surrogate pair).
        """
        if not rows:
            raise InputError("no rows to tokenize; give at least one text")
        try:
            encodings = self._tokenizer.encode_batch(list(rows))
        except UnicodeEncodeError as error:
            raise InputError(
                "a text holds half a surrogate pair, which is no Unicode; try mending its encoding"
            ) from error
        return {
            name: np.array([getattr(encoding, _FIELDS[name]) for encoding in encodings], dtype=np.int64)
            for name in self._names
        }
