"""A base graph and the directions to carry become the files of a swappable bundle."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from export.swap.cut import HEAD_FILE, Cut, cut
from export.swap.inject import SIGMA, LayerPlan, folded_weights, inject, one_weight
from export.swap.shapes import Feeds, probe
from export.swap.weights import Place, point, write_weights
from serve.errors import InputError
from serve.files import write_bytes
from serve.swap import HeadSpec, Kind, LayerSpec

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
    heads: tuple[HeadSpec, ...]
    bytes: int

    @property
    def head(self) -> HeadSpec:
        """The first task's."""
        return self.heads[0]


@dataclass(frozen=True, slots=True)
class HeadGraph:
    """What a head is cut from: the base model with the task's head as a graph, nothing folded.

    `whole` are the parameters trained whole and the axis of each that counts classes, `probes` some batches of
    `export.swap.shapes.PROBES`; `name`, `pooling` and `kind` are what the manifest tells of the head.
    """

    base: onnx.ModelProto
    whole: Mapping[str, int | None]
    probes: Sequence[Feeds]
    name: str = "default"
    pooling: str = ""
    kind: Kind = "row"


def build_swap(plans: Mapping[str, LayerPlan], heads: Sequence[HeadGraph], folder: Path) -> SwapFiles:
    """Write model.onnx (the backbone with `sigma`), fold.onnx, weights.safetensors and the heads into `folder`.

    `plans` say what each adapted layer carries. The backbone is cut from the first head's graph. Where there are
    several, or one that has no parameters, they are cut deeply, at the output of what they share. The same arguments
    give the same bytes. Raises InputError where a graph can't be cut, a layer can't be swapped, or graphs share no
    tensor.
    """

    import onnx_ir

    files = [HEAD_FILE, *(f"head.{head.name}.onnx" for head in heads[1:])]
    deep = len(heads) > 1 or not heads[0].whole
    cuts = [
        cut(one.base, one.whole, plans, probe(one.base, one.probes), one.name, file=file, deep=deep)
        for one, file in zip(heads, files, strict=True)
    ]
    _check_shared(heads, cuts)
    parts = cuts[0]
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
    for part, file in zip(cuts, files, strict=True):
        _save(onnx_ir.to_proto(part.head), folder / file, {})
    width = sum(len(layer.kept) for layer in layers)
    size = sum((folder / name).stat().st_size for name in (BACKBONE_FILE, FOLD_FILE, WEIGHTS_FILE, *files))
    specs = tuple(
        dataclasses.replace(part.spec, pooling=one.pooling, kind=one.kind)
        for part, one in zip(cuts, heads, strict=True)
    )
    return SwapFiles(width, parts.outputs, tuple(layers), specs, size)


def _check_shared(heads: Sequence[HeadGraph], cuts: Sequence[Cut]) -> None:
    """All heads must take the same tensors of the backbone."""
    (name, first), *others = [
        (one.name, {output: part.shapes.example(output) for output in part.outputs})
        for one, part in zip(heads, cuts, strict=True)
    ]
    for other, found in others:
        if found != first:
            told = [", ".join(f"{key} {shape}" for key, shape in one.items()) for one in (found, first)]
            raise InputError(
                f"one backbone can't serve {name} and {other}: {other} begins at {told[0]}, {name} at {told[1]};"
                " give each a bundle of its own"
            )


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
