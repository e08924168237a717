"""Folding an adapter into the backbone's weights, in numpy: `W + A diag(sigma) B` for every adapted layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from serve.errors import InputError
from serve.swap import LayerSpec, SwapSpec

ROWS = 256  # of a weight in float64 at a time

Weights = Mapping[str, npt.NDArray[np.float32]]


class StoredWeights(Mapping[str, npt.NDArray[np.float32]]):
    """The tensors of a safetensors file by name, each read when it is asked for; a context manager."""

    def __init__(self, path: Path) -> None:
        """Map the file. Raises InputError where it isn't safetensors or can't be read."""
        self._path, self._file = path, _open(path)
        self._names = frozenset(self._file.keys())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.__exit__(kind, error, at)

    def __getitem__(self, name: str) -> npt.NDArray[np.float32]:
        """A copy of one tensor. Raises KeyError; InputError where it isn't float32."""
        if name not in self._names:
            raise KeyError(name)
        value: npt.NDArray[np.float32] = self._file.get_tensor(name)
        if value.dtype != np.float32:
            raise InputError(f"{self._path}: {name} is {value.dtype}, not float32")
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def shape(self, name: str) -> tuple[int, ...]:
        """A tensor's shape; the tensor isn't read. Raises InputError where there is none."""
        if name not in self._names:
            raise InputError(f"{self._path}: has no tensor {name!r}")
        return tuple(self._file.get_slice(name).get_shape())


def fold_weights(
    spec: SwapSpec, weights: Weights, sigma: npt.NDArray[np.float32]
) -> dict[str, npt.NDArray[np.float32]]:
    """`LayerSpec.folded` → the layer's weight with the adapter in it, float32, `(in, out)` where `transposed`,
    else `(out, in)`.

    `weights` are the tensors of the bundle's weights file, `sigma` is float32 (`spec.width`,). Computed in float64 and
    rounded once. Untouched layers have no entry: their weight stays what it is.
    Raises InputError: a tensor that is missing or has another shape, a sum that float32 can't hold.
    """
    if sigma.shape != (spec.width,):
        raise InputError(f"sigma has shape {sigma.shape}, this bundle's is ({spec.width},)")
    folded: dict[str, npt.NDArray[np.float32]] = {}
    start = 0
    for layer in spec.layers:
        part = sigma[start : start + len(layer.kept)].astype(np.float64)
        start += len(layer.kept)
        if layer.form != "untouched":
            folded[layer.folded] = _fold(layer, weights, part)
    return folded


def folded_bytes(spec: SwapSpec, weights: StoredWeights) -> int:
    """Bytes of all adapted layers' weights, the untouched ones' too: what a session with one adapter folded in holds
    for itself, as onnxruntime lays out its own copy of each. Raises InputError where a tensor is missing."""
    numbers = 0
    for layer in spec.layers:
        if layer.form == "untouched":
            wide, high = weights.shape(layer.base)
        else:
            wide, high = weights.shape(layer.down)[0], weights.shape(layer.up)[1]
        numbers += wide * high
    return 4 * numbers


def _open(path: Path) -> Any:
    from safetensors import safe_open

    try:
        return safe_open(path, framework="numpy")
    except Exception as error:  # an OSError, or an error of safetensors' own
        raise InputError(f"{path}: can't be read as safetensors ({error})") from error


def _fold(layer: LayerSpec, weights: Weights, part: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    kept = len(layer.kept)
    A = _tensor(layer, weights, layer.down)[:, layer.offset : layer.offset + kept]
    B = _tensor(layer, weights, layer.up)
    if A.shape[1] != kept or B.shape[0] != kept:
        raise InputError(f"layer {layer.name}: {kept} directions, but its factors have {A.shape[1]} and {B.shape[0]}")
    left, right = (A, B) if layer.transposed else (B.T, A.T)
    base: npt.NDArray[np.float32] | None = None
    if layer.form == "factored":
        s = weights.get(layer.base)
        if s is None or s.shape != (kept,):
            raise InputError(f"layer {layer.name}: {layer.base} must have shape ({kept},) in the weights file")
        part = s + part
    else:
        base = _tensor(layer, weights, layer.base)
        if base.shape != (len(left), right.shape[1]):
            raise InputError(
                f"layer {layer.name}: {layer.base} has shape {base.shape}, its factors ({len(left)}, {right.shape[1]})"
            )
    scaled = part[:, None] * right
    result = np.empty((len(left), right.shape[1]), dtype=np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # told below
        for start in range(0, len(left), ROWS):
            rows = slice(start, start + ROWS)
            block = left[rows].astype(np.float64) @ scaled
            result[rows] = block if base is None else block + base[rows]
    if not np.isfinite(result).all():
        raise InputError(f"layer {layer.name}: the folded weight is beyond float32; try an adapter trained more gently")
    return result


def _tensor(layer: LayerSpec, weights: Weights, name: str) -> npt.NDArray[np.float32]:
    value = weights.get(name)
    if value is None or value.ndim != 2:
        raise InputError(f"layer {layer.name}: the weights file has no matrix {name!r}")
    return value
