"""A session of its own for one adapter: the plain backbone with the adapter folded into its weights."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from serve.bundle import Bundle
from serve.errors import InputError
from serve.images.spec import ImageSpec
from serve.manifest import Inputs
from serve.promotion.fold import StoredWeights, fold_weights, folded_bytes
from serve.session import check_inputs, check_outputs, load, run_graph, session_options
from serve.settings import USUAL, Settings

PROBE = 4  # tokens of the row that a new session is tried with

Arrays = dict[str, npt.NDArray[Any]]


class PromotedSession:
    """The backbone without `sigma`, one adapter folded in; safe to run from many threads at once.

    It shares nothing that changes with any other session; what isn't folded is mapped from the weights file.
    """

    def __init__(self, bundle: Bundle, sigma: npt.NDArray[np.float32], settings: Settings = USUAL) -> None:
        """Fold `sigma` float32 (R,) and load the graph; a row of padding is tried at once.

        While it is built it takes the memory of its weights twice: onnxruntime makes a copy of its own.
        Raises InputError where the bundle's files don't fit together, or the answer isn't finite.
        """
        manifest = bundle.manifest
        if manifest.swap is None:
            raise InputError(f"bundle {bundle.path}: is merged; only a swappable bundle can promote an adapter")
        self._path = bundle.file(manifest.swap.fold)
        self._outputs = list(manifest.swap.outputs)
        with StoredWeights(bundle.file(manifest.swap.weights)) as weights:
            arrays = fold_weights(manifest.swap, weights, sigma)
        # with an arena each session would keep the working memory of its largest batch
        options = session_options(dataclasses.replace(settings, arena=False))
        self._session = _load_with(arrays, self._path, options)
        check_inputs(self._session, self._path, manifest.input)
        check_outputs(self._session, self._path, manifest.swap.outputs)
        for name, value in self.run(_probe(manifest.input)).items():
            if not np.isfinite(value).all():
                raise InputError(f"{self._path}: {name} holds NaN or infinities with this adapter folded in")

    def run(self, feeds: Arrays) -> Arrays:
        """Feeds, each int64 (batch, sequence), to the boundary's tensors by name, batch first.

        Raises InputError where the graph fails.
        """
        results = run_graph(self._session, self._path, self._outputs, feeds)
        return dict(zip(self._outputs, results, strict=True))


def session_bytes(bundle: Bundle) -> int:
    """What a PromotedSession holds for itself: its weights and its graph. Raises InputError for a merged bundle."""
    swap = bundle.manifest.swap
    if swap is None:
        raise InputError(f"bundle {bundle.path}: is merged; only a swappable bundle can promote an adapter")
    with StoredWeights(bundle.file(swap.weights)) as weights:
        return folded_bytes(swap, weights) + bundle.file(swap.fold).stat().st_size


def _load_with(arrays: dict[str, npt.NDArray[np.float32]], path: Any, options: Any) -> Any:
    """The graph with these arrays as its weights. onnxruntime copies them; they can go when this returns."""
    import onnxruntime

    values = [onnxruntime.OrtValue.ortvalue_from_numpy(value) for value in arrays.values()]
    options.add_external_initializers(list(arrays), values)
    session = load(path, options)
    session.disable_fallback()  # it would load again, from options whose arrays are gone
    return session


def _probe(inputs: Inputs) -> Arrays:
    """A row to try a graph with."""
    if isinstance(inputs, ImageSpec):
        return {inputs.name: np.zeros((1, *inputs.shape), np.float32)}
    size = (1, min(PROBE, inputs.max_length))
    values = {"input_ids": inputs.pad_id, "attention_mask": 1, "token_type_ids": inputs.pad_type_id}
    return {name: np.full(size, values[name], dtype=np.int64) for name in inputs.names}
