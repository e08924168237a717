"""A tagger's outputs for a text's windows made into entities."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from serve.answers import softmax
from serve.entities import Entity, runs_of
from serve.windows import Windows

Outputs = Sequence[npt.NDArray[np.float32]]
"""Of each piece, (n, tags): its tokens' logits, special tokens included."""


def word_logits(outputs: Outputs, windows: Windows) -> npt.NDArray[np.float32]:
    """Each word's logits, float32 (words, tags): its token's, in the window that answers for it.

    A word that no token stands for is surely outside.
    """
    found = np.full((len(windows.words), outputs[0].shape[1]), -np.inf, dtype=np.float32)
    found[:, 0] = 0.0
    for number, output in enumerate(outputs):
        mine = windows.window == number
        found[mine] = output[windows.token[mine]]
    return found


def entities_of(outputs: Outputs, windows: Windows, tags: Sequence[str]) -> tuple[Entity, ...]:
    """The entities of a text, in order. `outputs` are finite."""
    shares = softmax(word_logits(outputs, windows))
    best, sure = shares.argmax(axis=-1), shares.max(axis=-1)
    found = []
    for run in runs_of(best, windows.shared, tags):
        start, end = int(windows.words[run.first, 0]), int(windows.words[run.after - 1, 1])
        score = float(sure[run.first : run.after].mean())
        found.append(Entity(run.kind, start, end, windows.text[start:end], score))
    return tuple(found)
