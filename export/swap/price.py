"""What swapping costs: the swappable graph and its head against the merged graph, taking turns on the same rows."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from export.swap.build import BACKBONE_FILE, SwapFiles
from export.swap.cut import HEAD_FILE
from export.swap.inject import SIGMA
from serve.session import load, session_options
from serve.settings import Settings

Arrays = Mapping[str, npt.NDArray[Any]]
WARM_UP = 3


def price(
    merged: Path,
    folder: Path,
    files: SwapFiles,
    weights: Arrays,
    batches: Mapping[str, Arrays],
    *,
    repeats: int = 60,
    threads: int = 1,
) -> dict[str, float]:
    """Median time of backbone and head over that of the merged graph, for each of `batches` by its name.

    `batches` are inputs, int64 (batch, sequence) each; `weights` the head's. sigma is fed (1, R), not left at its
    default. Every repeat runs both graphs, so that a slow moment of the machine meets both.
    """
    plain, backbone, head = (
        load(path, session_options(Settings(threads))) for path in (merged, folder / BACKBONE_FILE, folder / HEAD_FILE)
    )
    outputs = list(files.outputs)
    sigma = np.full((1, files.width), 0.01, dtype=np.float32)

    def swapped(feeds: Arrays) -> None:
        features = dict(zip(outputs, backbone.run(outputs, {**feeds, SIGMA: sigma}), strict=True))
        head.run(None, {**{name: {**feeds, **features}[name] for name in files.head.inputs}, **weights})

    def alone(feeds: Arrays) -> None:
        plain.run(None, dict(feeds))

    return {name: _ratio(swapped, alone, feeds, repeats) for name, feeds in batches.items()}


def _ratio(first: Callable[[Arrays], None], second: Callable[[Arrays], None], feeds: Arrays, repeats: int) -> float:
    seconds: tuple[list[float], list[float]] = ([], [])
    for turn in range(WARM_UP + repeats):
        for run, taken in zip((first, second), seconds, strict=True):
            start = time.perf_counter()
            run(feeds)
            if turn >= WARM_UP:
                taken.append(time.perf_counter() - start)
    return round(float(np.median(seconds[0]) / np.median(seconds[1])), 4)
