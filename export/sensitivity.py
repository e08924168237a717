"""Which layers a variant hurts most, found by converting each one alone."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from export.int8 import layers, write_int8
from export.variants.kinds import Writer
from serve.errors import InputError

if TYPE_CHECKING:
    import onnx

Feeds = dict[str, npt.NDArray[np.int64]]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class LayerError:
    """A layer, and the root mean square difference of the logits when it alone is converted (inf: NaN)."""

    name: str
    error: float


def rank_layers(
    model: onnx.ModelProto,
    batches: Sequence[Feeds],
    on_progress: Progress | None = None,
    *,
    write: Writer = write_int8,
    names: Sequence[str] | None = None,
) -> list[LayerError]:
    """The layers `names`, by default every one that int8 can hold, the most sensitive to `write` first.

    `batches` are the graph's inputs for some real rows, int64 (batch, sequence) each; 32 rows do (each layer costs a
    quantized graph, written and run: 2 to 3 seconds for MiniLM on a busy core).
    `on_progress` gets a layer's name, its place from 1, and the number of layers.
    """
    names = layers(model) if names is None else names
    wanted = _logits(model.SerializeToString(), batches)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "one.onnx"
        for place, name in enumerate(names, start=1):
            if on_progress is not None:
                on_progress(name, place, len(names))
            try:
                write(model, path, [other for other in names if other != name])
            except InputError:  # this writer leaves such a layer as it is: w4 a Gemm
                found.append(LayerError(name, 0.0))
                continue
            moved = _logits(str(path), batches) - wanted
            error = float(np.sqrt(np.mean(np.square(moved, dtype=np.float64))))
            found.append(LayerError(name, error if np.isfinite(error) else float("inf")))
    return sorted(found, key=lambda layer: -layer.error)


def _logits(graph: bytes | str, batches: Sequence[Feeds]) -> npt.NDArray[np.float32]:
    """Of all rows, (rows, width); where the graph answers each token, of all tokens that aren't padding."""
    session = _open(graph)
    found = [(feeds, session.run(None, feeds)[0]) for feeds in batches]
    return np.concatenate([out[feeds["attention_mask"] == 1] if out.ndim == 3 else out for feeds, out in found])


def _open(graph: bytes | str) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(graph, sess_options=options, providers=["CPUExecutionProvider"])
