"""A folded PyTorch model becomes one ONNX graph: dynamic batch and sequence, `logits` out, the same bytes always."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.quiet import quiet
from serve.errors import InputError
from serve.files import write_bytes

if TYPE_CHECKING:
    import onnx_ir
    import torch
    from transformers import PreTrainedModel

OUTPUT = "logits"
OPSET = 20  # what onnxruntime 1.24, the oldest that serves a bundle, reads without conversion
EMBED_LIMIT = 2**31 - 2**24  # protobuf refuses 2 GiB; the graph itself needs a little
_SCOPES = "pkg.torch.onnx.name_scopes"
_NAMED_OPS = ("MatMul", "Gemm", "Gather", "Conv")


@dataclass(frozen=True, slots=True)
class GraphInfo:
    """What was written: input names in graph order, the output's name, opset, bytes on disk (weights included)."""

    inputs: tuple[str, ...]
    output: str
    opset: int
    bytes: int


def export_onnx(
    model: PreTrainedModel,
    encoded: Mapping[str, torch.Tensor],
    path: Path,
    metadata: Mapping[str, str],
    output: str = OUTPUT,
) -> GraphInfo:
    """Write `model` to `path` as ONNX.

    `model` is a folded float32 model in eval mode whose forward returns `.logits` (batch, classes), or (batch,
    sequence, classes). `encoded` is one batch: its keys become the graph's inputs; its values only guide the trace. Of
    a text model they are tokens, int64 (batch, sequence) each, of an image model pixels, float32 (batch, channels,
    height, width). `metadata` becomes the file's metadata_props.

    Inputs are int64 ["batch", "sequence"], or float32 ["batch", channels, height, width], sizes fixed; the one output
    is `output`, float32. Weights are in the file, or beside it in `<name>.data` where protobuf
    couldn't hold them. Matrix products, convolutions and embedding lookups are named after their module
    (`bert.encoder.layer.0.attention.self.query`). The same model gives the same bytes. Raises InputError where the
    model can't be exported, with the reason.
    """
    import onnx
    import onnx_ir

    kind = type(model).__name__
    _check_model(model, kind)
    program = _trace(model, _sample(model, encoded, output, kind), kind)
    graph = program.graph
    _only(program, output, kind)
    _name_axes(graph, kind)
    _name_layers(graph)
    _strip(program)
    program.metadata_props.clear()
    program.metadata_props.update(sorted(metadata.items()))
    size = sum(value.const_value.nbytes for value in graph.initializers.values() if value.const_value is not None)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.data")
    if size < EMBED_LIMIT:
        proto = onnx_ir.to_proto(program)
        onnx.checker.check_model(proto)
        write_bytes(path, proto.SerializeToString(deterministic=True))
        beside.unlink(missing_ok=True)
    else:
        onnx_ir.save(program, str(path), external_data=beside.name)
    written = path.stat().st_size + (beside.stat().st_size if beside.exists() else 0)
    return GraphInfo(tuple(str(value.name) for value in graph.inputs), output, OPSET, written)


def _check_model(model: PreTrainedModel, kind: str) -> None:
    """Refuse, with the reason, what can't give a right graph."""
    import torch

    if model.training:
        raise InputError(f"{kind}: is in training mode; call eval() before the export")
    if getattr(model.config, "is_encoder_decoder", False):
        raise InputError(f"{kind}: encoder-decoder models can't be exported; try an encoder or a decoder")
    dtypes = sorted({str(p.dtype) for p in model.parameters() if p.dtype != torch.float32})
    if dtypes:
        raise InputError(f"{kind}: has weights in {', '.join(dtypes)}; fold in float32 before the export")


def _sample(model: PreTrainedModel, encoded: Mapping[str, torch.Tensor], output: str, kind: str) -> dict[str, Any]:
    """The trace's inputs, free axes of at least 2, since torch.export fixes one that is 1."""
    import torch

    main = model.main_input_name
    if main not in encoded:
        raise InputError(f"{kind}: the sample batch has no {main} (it has: {', '.join(encoded) or 'nothing'})")
    sample: dict[str, Any] = {}
    for name, value in encoded.items():
        if (value.dtype, value.ndim) not in ((torch.int64, 2), (torch.float32, 4)):
            raise InputError(
                f"{kind}: {name} must be int64 (batch, sequence) or float32 (batch, channels, height, width), got"
                f" {value.dtype} {tuple(value.shape)}"
            )
        repeats = [2 if size == 1 and axis < _free(value) else 1 for axis, size in enumerate(value.shape)]
        sample[name] = value.repeat(*repeats).to(model.device)
    try:
        with torch.no_grad(), quiet():
            logits = getattr(model(**sample), output)
    except Exception as error:
        raise InputError(f"{kind}: fails on the sample batch: {_first_line(error)}") from error
    rows = tuple(sample[main].shape[: _free(sample[main])])
    if tuple(logits.shape[:-1]) not in (rows[:1], rows):
        raise InputError(
            f"{kind}: its logits are {tuple(logits.shape)}; wanted one row of classes for each text, or for each token"
        )
    return sample


def _trace(model: PreTrainedModel, sample: dict[str, Any], kind: str) -> onnx_ir.Model:
    import torch
    from transformers.exporters.configs import OnnxConfig
    from transformers.exporters.exporter_onnx import OnnxExporter

    auto = torch.export.Dim.AUTO
    flags = {
        name: False
        for name in ("use_cache", "output_attentions", "output_hidden_states")
        if getattr(model.config, name, None) is not None
    }
    shapes = {name: dict.fromkeys(range(_free(value)), auto) for name, value in sample.items()}
    config = OnnxConfig(dynamic=True, dynamic_shapes=shapes, opset_version=OPSET)
    try:
        with quiet():
            program, _ = OnnxExporter().export_program(model, {**sample, **flags}, config)
    except Exception as error:
        raise InputError(f"{kind}: can't be exported to ONNX: {_first_line(error)}") from error
    return program


def _free(value: torch.Tensor) -> int:
    """How many of an input's axes vary, the first ones: batch and sequence, or of pixels the batch alone."""
    return 1 if value.ndim == 4 else 2


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _only(program: onnx_ir.Model, output: str, kind: str) -> None:
    """Drop every other output, and what only they needed; no other value has this one's name."""
    from onnx_ir.passes.common import RemoveUnusedNodesPass

    outputs = program.graph.outputs
    kept = [value for value in outputs if value.name == output]
    if len(kept) != 1:
        raise InputError(f"{kind}: has no output {output} (it has: {', '.join(str(value.name) for value in outputs)})")
    outputs[:] = kept
    RemoveUnusedNodesPass()(program)
    for node in program.graph.all_nodes():  # the tracer names a value after its operator, which may be called so too
        for value in node.outputs:
            if value.name == output and value is not kept[0]:
                value.name = f"{output}.{node.op_type}"


def _name_axes(graph: onnx_ir.Graph, kind: str) -> None:
    """Name the free axes `batch` and `sequence`; refuse one that the trace fixed to the sample's size."""
    import onnx_ir

    for value in graph.inputs:
        sizes = list(value.shape or ())
        free = 1 if len(sizes) == 4 else 2
        if len(sizes) not in (2, 4) or any(isinstance(dim, int) for dim in sizes[:free]):
            raise InputError(f"{kind}: its graph takes {value.name} only as {value.shape}; it can't vary in size")
        value.shape = onnx_ir.Shape([*("batch", "sequence")[:free], *sizes[free:]])
    logits = graph.outputs[0]
    width = None if logits.shape is None else logits.shape[-1]
    if not isinstance(width, int):
        raise InputError(f"{kind}: the number of classes of its logits ({logits.shape}) isn't fixed")
    logits.shape = onnx_ir.Shape([*("batch", "sequence")[: len(logits.shape or ()) - 1], width])


def _name_layers(graph: onnx_ir.Graph) -> None:
    """Name products and lookups of weights after their module, and transposed weights after the module's weight.

    A module that runs twice (ALBERT's shared layer) gives `name`, `name#2`, ...
    """
    import ast

    seen: Counter[str] = Counter()
    for node in graph:
        weights = [value for value in node.inputs if value is not None and value.name in graph.initializers]
        if node.op_type not in _NAMED_OPS or not weights or _SCOPES not in node.metadata_props:
            continue
        scope = ast.literal_eval(node.metadata_props[_SCOPES])[-2]
        if node.op_type == "Gather" and node.inputs[0] not in weights:
            continue
        seen[scope] += 1
        node.name = scope if seen[scope] == 1 else f"{scope}#{seen[scope]}"
        for value in weights:
            wanted = f"{scope}.weight.T"
            if not str(value.name).startswith("val_") or node.op_type == "Gather":
                continue
            first = graph.initializers.get(wanted)
            if first is None:
                graph.initializers.pop(str(value.name))
                value.name = wanted
                graph.initializers.add(value)
            elif first is not value and _same(first, value):  # the trace's copy for another run of the module
                value.replace_all_uses_with(first)
                graph.initializers.pop(str(value.name))


def _same(one: onnx_ir.Value, other: onnx_ir.Value) -> bool:
    import numpy as np

    first, second = one.const_value, other.const_value
    return first is not None and second is not None and np.array_equal(first.numpy(), second.numpy())


def _strip(program: onnx_ir.Model) -> None:
    """Remove what differs from machine to machine (stack traces, paths) and shapes in the tracer's own symbols."""
    graph = program.graph
    nodes = list(graph.all_nodes())
    values = [
        *graph.inputs,
        *graph.outputs,
        *graph.initializers.values(),
        *(out for node in nodes for out in node.outputs),
    ]
    graph.metadata_props.clear()
    graph.doc_string = None
    for node in nodes:
        node.metadata_props.clear()
        node.doc_string = None
    for value in values:
        value.metadata_props.clear()
        value.doc_string = None
        if value.producer() is not None and not value.is_graph_output():
            value.shape, value.type = None, None
    program.doc_string = None
