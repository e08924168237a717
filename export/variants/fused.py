"""Nodes fused before a device loads the graph, by onnxruntime's optimizer for transformers."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

from export.quiet import quiet
from export.variants.saving import save, small_enough
from serve.errors import InputError


def write_fused(source: Path, out: Path) -> int:
    """Write the graph `source` with its nodes fused to `out`, atomically; gives its bytes.

    An int8 graph is quantized before: int8 has no form of several fused nodes. Raises InputError where nothing could
    be fused, and for more than 2 GB of weights.
    """
    import onnx
    from onnxruntime.transformers.optimizer import optimize_model

    model = onnx.load(str(source))
    small_enough(model, "fused")
    before = Counter(node.op_type for node in model.graph.node)
    with tempfile.TemporaryDirectory() as folder, quiet():
        path = Path(folder) / "model.onnx"
        onnx.save_model(model, str(path))
        made = optimize_model(str(path), model_type="bert", opt_level=0).model
    if Counter(node.op_type for node in made.graph.node) == before:
        raise InputError(f"{source}: onnxruntime's optimizer finds nothing in it to fuse")
    del made.metadata_props[:]
    made.metadata_props.extend(model.metadata_props)
    return save(made, out)


def fused_nodes(source: Path) -> dict[str, int]:
    """How many nodes of each of onnxruntime's own operators a graph has."""
    import onnx

    graph = onnx.load(str(source), load_external_data=False).graph
    return dict(sorted(Counter(node.op_type for node in graph.node if node.domain == "com.microsoft").items()))
