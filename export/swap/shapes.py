"""How the tensors of a graph lie: batch first, tokens flattened, or the same whatever the batch. Found by a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from serve.errors import InputError

if TYPE_CHECKING:
    import onnx

Feeds = Mapping[str, npt.NDArray[np.int64]]
Kind = Literal["rows", "tokens", "fixed", "other"]
Shape = tuple[int, ...]
PROBES = ((3, 7), (5, 7), (3, 11))  # batch × sequence: no two products of these are alike


@dataclass(frozen=True, slots=True)
class Shapes:
    """What every tensor measured at each probe; `sizes` are the probes' (batch, sequence)."""

    sizes: tuple[tuple[int, int], ...]
    found: Mapping[str, tuple[Shape, ...]]

    def kind(self, name: str) -> Kind:
        """`rows`: batch first; `tokens`: (batch · sequence, width); `fixed`: the batch doesn't show in its shape."""
        shapes = self.found[name]
        pairs = list(zip(self.sizes, shapes, strict=True))
        if all(shape and shape[0] == batch for (batch, _), shape in pairs):
            return "rows"
        if all(len(shape) == 2 and shape[0] == batch * sequence for (batch, sequence), shape in pairs):
            return "tokens"
        by_sequence: dict[int, set[Shape]] = {}
        for (_, sequence), shape in pairs:
            by_sequence.setdefault(sequence, set()).add(shape)
        return "fixed" if all(len(shapes) == 1 for shapes in by_sequence.values()) else "other"

    def example(self, name: str) -> Shape:
        """The tensor's shape at the first probe."""
        return self.found[name][0]

    def renamed(self, names: Mapping[str, str]) -> Shapes:
        """The same with some tensors known under a further name, old → new."""
        return Shapes(self.sizes, {**self.found, **{new: self.found[old] for old, new in names.items()}})


def probe(model: onnx.ModelProto, batches: Sequence[Feeds]) -> Shapes:
    """Run `model` on batches of at least two sizes and lengths (`PROBES`), and note the shape of all it holds.

    Some rows should be padded: a graph that drops padding shows it here. Raises InputError where it can't be run.
    """
    import onnx
    import onnxruntime

    opened = onnx.ModelProto()
    opened.CopyFrom(model)
    names = list(dict.fromkeys(name for node in opened.graph.node for name in node.output if name))
    del opened.graph.output[:]
    opened.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(
            opened.SerializeToString(), sess_options=options, providers=["CPUExecutionProvider"]
        )
        answers = [session.run(names, dict(feeds)) for feeds in batches]
    except Exception as error:  # onnxruntime's errors share no base class
        raise InputError(f"the graph can't be probed: {str(error).strip().splitlines()[0]}") from error
    first = next(iter(batches[0]))
    sizes = tuple((int(feeds[first].shape[0]), int(feeds[first].shape[1])) for feeds in batches)
    found = {name: tuple(np.shape(answer[place]) for answer in answers) for place, name in enumerate(names)}
    found |= {name: tuple(feeds[name].shape for feeds in batches) for name in batches[0]}
    found |= {str(entry.name): (tuple(entry.dims),) * len(batches) for entry in model.graph.initializer}
    return Shapes(sizes, found)
