"""Which encoder a bundle's rows need."""

from __future__ import annotations

from pathlib import Path

from serve.bundle import TOKENIZER, Bundle
from serve.manifest import InputSpec
from serve.pieces import Encoder
from serve.tokenize import TextTokenizer


def open_encoder(bundle: Bundle) -> Encoder:
    """The encoder of a bundle. Raises InputError where its files can't be read."""
    return encoder_in(bundle.path, bundle.manifest.input)


def encoder_in(folder: Path, spec: InputSpec) -> Encoder:
    """The same from the folder of a bundle, or of a model that becomes one."""
    return TextTokenizer.from_file(folder / TOKENIZER, spec)
