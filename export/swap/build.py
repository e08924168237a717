"""A base graph and the directions to carry become the files of a swappable bundle."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from export.swap.cut import HEAD_FILE, cut
from export.swap.inject import SIGMA, LayerPlan, folded_weights, inject, one_weight
from export.swap.shapes import Feeds, probe
from export.swap.weights import Place, point, write_weights
from serve.files import write_bytes
from serve.swap import HeadSpec, LayerSpec

if TYPE_CHECKING:
    import onnx

BACKBONE_FILE, FOLD_FILE, WEIGHTS_FILE = "model.onnx", "fold.onnx", "weights.safetensors"
SMALL = 1024  # bytes: what is smaller stays in the graph


@dataclass(frozen=True, slots=True)
class SwapFiles:
    """What was written into the folder, as the manifest will tell it. `width` is the length of sigma."""

    width: int
    outputs: tuple[str, ...]
    layers: tuple[LayerSpec, ...]
    head: HeadSpec
    bytes: int


def build_swap(
    base: onnx.ModelProto,
    plans: Mapping[str, LayerPlan],
    whole: Mapping[str, int | None],
    probes: Sequence[Feeds],
    folder: Path,
    pooling: str = "",
) -> SwapFiles:
    """Write model.onnx (the backbone with `sigma`), fold.onnx, head.onnx and weights.safetensors into `folder`.

    `base` is the base model with a task's head, as `export.graph` writes it, nothing folded; `plans` say what each
    adapted layer carries; `whole` the parameters trained whole and the axis of each that counts classes; `probes` some
    batches of `export.swap.shapes.PROBES`; `pooling` is what the manifest tells of the head. The same arguments give
    the same bytes. Raises InputError where the graph can't be cut or a layer can't be swapped.
    """

    import onnx_ir

    shapes = probe(base, probes)
    parts = cut(base, whole, plans, shapes)
    one_weight(parts.backbone, list(plans))
    plain = onnx_ir.to_proto(parts.backbone)
    folded = {name for name, _ in folded_weights(parts.backbone, list(plans)).values()}
    layers = inject(parts.backbone, plans, parts.shapes)
    backbone = onnx_ir.to_proto(parts.backbone)
    shared = _arrays(backbone, folded) | {
        name: value for name, value in _arrays(plain, set()).items() if name not in folded
    }
    shared |= {layer.base: plans[layer.name].s for layer in layers if layer.form == "factored"}
    places = write_weights(folder / WEIGHTS_FILE, shared)
    # a weight that only its factors make is handed over by whoever folds; its place is read by no one
    nowhere = {name: (0, _bytes(plain, name)) for name in folded if name not in places}
    _save(backbone, folder / BACKBONE_FILE, places)
    _save(plain, folder / FOLD_FILE, places | nowhere)
    _save(onnx_ir.to_proto(parts.head), folder / HEAD_FILE, {})
    files = (BACKBONE_FILE, FOLD_FILE, HEAD_FILE, WEIGHTS_FILE)
    width = sum(len(layer.kept) for layer in layers)
    size = sum((folder / name).stat().st_size for name in files)
    head = dataclasses.replace(parts.spec, pooling=pooling)
    return SwapFiles(width, parts.outputs, tuple(layers), head, size)


def _arrays(model: onnx.ModelProto, always: set[str]) -> dict[str, npt.NDArray[np.float32]]:
    """The float32 initializers worth sharing: all but small ones, and the factors and weights however small."""
    import onnx

    found = {}
    for tensor in model.graph.initializer:
        name = str(tensor.name)
        if tensor.data_type != onnx.TensorProto.FLOAT or name == SIGMA or not tensor.dims:
            continue
        value: npt.NDArray[Any] = onnx.numpy_helper.to_array(tensor)
        if value.nbytes >= SMALL or ".svfit." in name or name in always:
            found[name] = value
    return found


def _bytes(model: onnx.ModelProto, name: str) -> int:
    (dims,) = [tensor.dims for tensor in model.graph.initializer if tensor.name == name]
    return 4 * int(np.prod(dims))


def _save(model: onnx.ModelProto, path: Path, places: Mapping[str, Place]) -> None:
    import onnx

    point(model, places, WEIGHTS_FILE)
    if not places:
        onnx.checker.check_model(model)
    write_bytes(path, model.SerializeToString(deterministic=True))
