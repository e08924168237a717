"""int8 with activations scaled once, by training rows, instead of anew in every batch (QDQ)."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from export.int8 import layers
from export.quiet import quiet
from export.variants.saving import save, small_enough
from serve.errors import InputError

if TYPE_CHECKING:
    import onnx

    from export.variants.kinds import Writer

Feeds = dict[str, npt.NDArray[Any]]
OPERATORS = ("MatMul", "Gemm", "Conv", "Gather")


def static_writer(model: onnx.ModelProto, batches: Sequence[Feeds]) -> Writer:
    """Find the range of every activation on `batches`, and give what writes int8 graphs with these ranges.

    `batches` are graph inputs of training rows, batch first; a hundred rows of all lengths do. A
    range is the smallest and the largest number met. Raises InputError without rows, and for more than 2 GB of
    weights.
    """
    small_enough(model, "int8-static")
    if not batches:
        raise InputError("int8-static: needs rows to calibrate on")
    ranges = _ranges(model, batches)

    def write(model: onnx.ModelProto, out: Path, keep: Collection[str] = ()) -> int:
        return _write(model, out, keep, ranges)

    return write


def static_layers(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes that `static_writer` quantizes: as `export.int8.layers`, and convolutions, in graph order."""
    wanted = set(layers(model))
    return [node.name for node in model.graph.node if node.name in wanted or (node.op_type == "Conv" and node.name)]


def mostly_convolutions(model: onnx.ModelProto) -> bool:
    """Whether convolutions hold most of a graph's weights: the int8 whose activations are measured a batch has none of
    them (`export.int8`)."""
    sizes = {entry.name: math.prod(entry.dims) for entry in model.graph.initializer}
    kernels = {node.input[1] for node in model.graph.node if node.op_type == "Conv"}
    return bool(2 * sum(sizes.get(name, 0) for name in kernels) > sum(sizes.values()))


def _write(model: onnx.ModelProto, out: Path, keep: Collection[str], ranges: Any) -> int:
    """7 bits a weight and a scale for each column, for the reasons of `export.int8.write_int8`.

    Only what goes into a product is quantized, not what comes out: that is added to a bias and normalized in float32.
    With int8 there too MiniLM loses 0.9 points on banking77 instead of none (validation rows).
    """
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
    from onnxruntime.quantization.quant_utils import save_and_reload_model_with_shape_infer

    wanted = [name for name in static_layers(model) if name not in set(keep)]
    if not wanted:
        raise InputError("int8-static: no layer is left to quantize; the graph has no weights, or all are kept in fp32")
    with quiet():
        quantizer = QDQQuantizer(
            save_and_reload_model_with_shape_infer(model),
            True,
            True,
            QuantType.QInt8,
            QuantType.QUInt8,
            ranges,
            wanted,
            [],
            list(OPERATORS),
            {"OpTypesToExcludeOutputQuantization": ["MatMul", "Gemm"], "MatMulConstBOnly": True},
        )
        quantizer.quantize_model()
    return save(quantizer.model.model, out)


def _ranges(model: onnx.ModelProto, batches: Sequence[Feeds]) -> Any:
    import onnx
    from onnxruntime.quantization import CalibrationMethod
    from onnxruntime.quantization.calibrate import CalibrationDataReader, create_calibrator

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
        """The batches, one after the other."""

        def __init__(self) -> None:
            self.left: Iterator[Feeds] = iter(batches)

        def get_next(self) -> Feeds | None:
            return next(self.left, None)

    with tempfile.TemporaryDirectory() as folder, quiet():
        path = Path(folder) / "model.onnx"
        onnx.save_model(model, str(path))
        calibrator = create_calibrator(
            path,
            list(OPERATORS),
            augmented_model_path=str(Path(folder) / "augmented.onnx"),
            calibrate_method=CalibrationMethod.MinMax,
        )
        calibrator.collect_data(Reader())
        return calibrator.compute_data()
