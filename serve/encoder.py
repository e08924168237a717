"""Which encoder a bundle's rows need."""

from __future__ import annotations

from pathlib import Path

from serve.bundle import TOKENIZER, Bundle
from serve.images.encoder import ImageEncoder
from serve.images.spec import ImageSpec
from serve.manifest import Inputs
from serve.pieces import Encoder
from serve.tokenize import TextTokenizer


def open_encoder(bundle: Bundle) -> Encoder:
    """The encoder of a bundle. Raises InputError where its files can't be read."""
    return encoder_in(bundle.path, bundle.manifest.input)


def encoder_in(folder: Path, spec: Inputs) -> Encoder:
    """The same from the folder of a bundle, or of a model that becomes one."""
    if isinstance(spec, ImageSpec):
        return ImageEncoder(spec)
    return TextTokenizer.from_file(folder / TOKENIZER, spec)
