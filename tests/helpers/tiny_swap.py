"""A swappable bundle of a few KB: one bypass layer, one factored layer, a mean, and a linear head.

Its backbone is written by hand, so that the tests of `serve` don't lean on `export`'s surgery.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file
from tiny_bundle import LABELS, SAMPLES, WORDS, tiny_tokenizer

from export.swap.weights import point, write_weights
from serve.bundle import seal
from serve.manifest import BaseSpec, Created, InputSpec, Manifest, MeasuredOn, OutputSpec, Variant
from serve.swap import HeadSpec, HeadWeight, LayerSpec, SwapSpec
from serve.tokenize import TextTokenizer

IN, OUT = 16, 32
KEPT = tuple(range(0, 16, 2))
"""Directions of layer `first` that the graph carries; of layer `second` it carries all 16."""
BASIS_ID = "b" * 64
WEIGHTS = "weights.safetensors"
Arrays = dict[str, NDArray[Any]]


def tiny_parts(seed: int = 0) -> Arrays:
    """The base weights and their factors: `first.W (16, 16)`, `second.W (16, 32)`, float32."""
    rng = np.random.default_rng(seed)
    parts: Arrays = {"embeddings": rng.normal(size=(len(WORDS), IN))}
    for name, width in (("first", IN), ("second", OUT)):
        parts[f"{name}.W"] = rng.normal(size=(IN, width)) / 4
        A, s, B = np.linalg.svd(parts[f"{name}.W"], full_matrices=False)
        parts |= {f"{name}.A": A, f"{name}.s": s, f"{name}.B": B}
    return {name: np.ascontiguousarray(value.astype(np.float32)) for name, value in parts.items()}


def tiny_delta(seed: int) -> Arrays:
    """What an adapter learned: `first (16,)`, zero off `KEPT`, and `second (16,)`."""
    rng = np.random.default_rng(seed)
    first = np.zeros(16, dtype=np.float32)
    first[list(KEPT)] = rng.normal(size=len(KEPT))
    return {"first": first, "second": rng.normal(size=16).astype(np.float32)}


def tiny_head(seed: int, classes: int) -> Arrays:
    rng = np.random.default_rng(1000 + seed)
    weight, bias = rng.normal(size=(classes, OUT)), rng.normal(size=classes)
    return {"classifier.weight": weight.astype(np.float32), "classifier.bias": bias.astype(np.float32)}


def make_adapter(
    folder: Path,
    seed: int = 1,
    labels: Sequence[str] = LABELS,
    *,
    basis_id: str = BASIS_ID,
    delta: Arrays | None = None,
    head: Arrays | None = None,
    **card: Any,
) -> Path:
    """An adapter folder as `export.adapter` writes one; `labels` empty makes a regression."""
    folder.mkdir(parents=True)
    delta = tiny_delta(seed) if delta is None else delta
    head = tiny_head(seed, max(1, len(labels))) if head is None else head
    sigma = {f"sigma.{name}": np.abs(value) for name, value in delta.items()}
    tensors = {f"delta.{name}": value for name, value in delta.items()} | sigma
    save_file(tensors | {f"module.{name}": value for name, value in head.items()}, folder / "adapter.safetensors")
    shapes = {"first": [IN, IN], "second": [OUT, IN]}
    layers = [
        {"name": name, "shape": shapes[name], "rank": 16, "weight_sha256": "1" * 64, "factors_sha256": "2" * 64}
        for name in ("first", "second")
    ]
    document = {
        "format": "svfit-adapter",
        "format_version": 1,
        "method": "svfit",
        "core": "diagonal",
        "basis_id": basis_id,
        "basis": {"layers": layers},
        "card": {
            "name": folder.name,
            "task": "text-classification" if labels else "text-regression",
            "labels": list(labels),
            "base": {"name": "local:tiny", "sha256": "0" * 64},
            "max_length": 16,
            "metrics": {"accuracy": 0.5},
            "trained": {"adapter": 32},
            **card,
        },
    }
    (folder / "adapter.json").write_text(json.dumps(document))
    return folder


def expected_logits(ids: Sequence[int], delta: Arrays, head: Arrays, parts: Arrays | None = None) -> NDArray[Any]:
    """What the bundle must answer for one row of token ids, float64 (classes,): the merged form, in numpy."""
    p = {name: value.astype(np.float64) for name, value in (parts or tiny_parts()).items()}
    x = p["embeddings"][list(ids)]
    first = p["first.W"] + (p["first.A"] * delta["first"]) @ p["first.B"]
    second = p["second.W"] + (p["second.A"] * delta["second"]) @ p["second.B"]
    pooled = (np.tanh(x @ first) @ second).mean(axis=0)
    return np.asarray(head["classifier.weight"] @ pooled + head["classifier.bias"], dtype=np.float64)


def make_swap_bundle(folder: Path, adapters: Sequence[tuple[str, int]] = (("alpha", 1), ("beta", 2))) -> Path:
    """Write and seal a swappable bundle with these adapters (name, seed), variants fp32 and int8 (only called so)."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = tiny_parts()
    kept = {"first.A": parts["first.A"][:, list(KEPT)], "first.B": parts["first.B"][list(KEPT)]}
    tensors = {name: np.ascontiguousarray(value) for name, value in (parts | kept).items() if name != "second.W"}
    places = write_weights(folder / WEIGHTS, tensors)
    _save(_backbone(parts | kept), folder / "model.onnx", places, WEIGHTS)
    (folder / "variants" / "int8").mkdir(parents=True)
    _save(_backbone(parts | kept), folder / "variants" / "int8" / "model.onnx", {}, WEIGHTS)
    nowhere = {"second.W": (0, IN * OUT * 4)}  # only its shape is used: whoever folds hands it over
    _save(_folded(parts), folder / "fold.onnx", places | nowhere, WEIGHTS)
    _save(_head(), folder / "head.onnx", {}, WEIGHTS)
    tiny_tokenizer().save(str(folder / "tokenizer.json"))
    for name, seed in adapters:
        make_adapter(folder / "adapters" / name, seed)
    _seal(folder, [name for name, _ in adapters], adapters[0][1])
    return folder


def swap_spec(adapters: Sequence[str]) -> SwapSpec:
    return SwapSpec(
        sigma="sigma",
        width=len(KEPT) + 16,
        outputs=("pooled",),
        layers=(
            LayerSpec("first", 16, KEPT, "bypass", "first.A", 0, "first.B", "first.W", "first.W", True),
            LayerSpec(
                "second", 16, tuple(range(16)), "factored", "second.A", 0, "second.B", "second.s", "second.W", True
            ),
        ),
        heads=(
            HeadSpec(
                "default",
                "head.onnx",
                ("pooled",),
                "logits",
                (HeadWeight("classifier.weight", ("classes", OUT)), HeadWeight("classifier.bias", ("classes",))),
            ),
        ),
        weights=WEIGHTS,
        fold="fold.onnx",
        adapters=tuple(adapters),
        price={},
    )


def _seal(folder: Path, adapters: Sequence[str], seed: int) -> None:
    inputs = InputSpec(1, ("input_ids", "attention_mask"), 16, 0, 0, "[PAD]", "right")
    tokenizer = TextTokenizer.from_file(folder / "tokenizer.json", inputs)
    logits = [
        expected_logits(tokenizer.encode(row)[0].tolist(), tiny_delta(seed), tiny_head(seed, len(LABELS))).tolist()
        for row in SAMPLES
    ]
    samples = {
        "rows": [[row] for row in SAMPLES],
        "outputs": dict.fromkeys(("fp32", "int8"), logits),
        "tolerance": {"fp32": 1e-4, "int8": 1e-2},
    }
    (folder / "samples.json").write_text(json.dumps(samples))
    files = {"fp32": "model.onnx", "int8": "variants/int8/model.onnx"}
    manifest = Manifest(
        name="tiny",
        task="text-classification",
        labels=LABELS,
        input=inputs,
        output=OutputSpec("logits", len(LABELS)),
        base=BaseSpec("local:tiny", "0" * 64),
        basis_id=BASIS_ID,
        adapter={"name": adapters[0]},
        variants=tuple(Variant(name, file, name, name == "fp32", 1) for name, file in files.items()),
        default_variant="fp32",
        measured_on=MeasuredOn("a test's processor", ("avx2",), 1, "1.32.0"),
        created=Created("0.1.0", "2026-01-01T00:00:00Z", {}),
        swap=swap_spec(adapters),
    )
    seal(folder, dataclasses.replace(manifest))


def _save(model: onnx.ModelProto, path: Path, places: dict[str, tuple[int, int]], location: str) -> None:
    point(model, places, location)
    path.write_bytes(model.SerializeToString())


_MEAN = [
    ("Cast", ["attention_mask"], ["mask"], {"to": TensorProto.FLOAT}),
    ("Unsqueeze", ["mask", "last"], ["column"], {}),
    ("Mul", ["second", "column"], ["masked"], {}),
    ("ReduceSum", ["masked", "one"], ["sum"], {"keepdims": 0}),
    ("ReduceSum", ["column", "one"], ["count"], {"keepdims": 0}),
    ("Div", ["sum", "count"], ["pooled"], {}),
]


def _backbone(parts: Arrays) -> onnx.ModelProto:
    nodes: list[tuple[str, list[str], list[str], dict[str, Any]]] = [
        ("Unsqueeze", ["sigma", "one"], ["sigma3"], {}),
        ("Split", ["sigma3", "sizes"], ["first.sigma", "second.sigma"], {"axis": -1}),
        ("Gather", ["embeddings", "input_ids"], ["x"], {}),
        ("MatMul", ["x", "first.W"], ["xW"], {}),
        ("MatMul", ["x", "first.A"], ["xA"], {}),
        ("Mul", ["xA", "first.sigma"], ["moved"], {}),
        ("MatMul", ["moved", "first.B"], ["change"], {}),
        ("Add", ["xW", "change"], ["first"], {}),
        ("Tanh", ["first"], ["tanh"], {}),
        ("MatMul", ["tanh", "second.A"], ["tA"], {}),
        ("Add", ["second.s", "second.sigma"], ["scale"], {}),
        ("Mul", ["tA", "scale"], ["scaled"], {}),
        ("MatMul", ["scaled", "second.B"], ["second"], {}),
        *_MEAN,
    ]
    sizes = np.array([len(KEPT), 16], dtype=np.int64)
    model = _model(nodes, {**parts, "sizes": sizes}, "pooled", OUT)
    model.graph.input.append(helper.make_tensor_value_info("sigma", TensorProto.FLOAT, ["adapters", len(KEPT) + 16]))
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((1, len(KEPT) + 16), dtype=np.float32), "sigma"))
    return model


def _folded(parts: Arrays) -> onnx.ModelProto:
    nodes: list[tuple[str, list[str], list[str], dict[str, Any]]] = [
        ("Gather", ["embeddings", "input_ids"], ["x"], {}),
        ("MatMul", ["x", "first.W"], ["first"], {}),
        ("Tanh", ["first"], ["tanh"], {}),
        ("MatMul", ["tanh", "second.W"], ["second"], {}),
        *_MEAN,
    ]
    return _model(nodes, parts, "pooled", OUT)


def _model(nodes: Any, parts: Arrays, output: str, width: int) -> onnx.ModelProto:
    constants = {"last": np.array([2], dtype=np.int64), "one": np.array([1], dtype=np.int64)}
    used = {name for _, inputs, _, _ in nodes for name in inputs}
    graph = helper.make_graph(
        [helper.make_node(op, inputs, outputs, **attributes) for op, inputs, outputs, attributes in nodes],
        "tiny",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"])
            for name in ("input_ids", "attention_mask")
        ],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", width])],
        [numpy_helper.from_array(value, name) for name, value in {**parts, **constants}.items() if name in used],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def _head() -> onnx.ModelProto:
    shapes: dict[str, list[str | int]] = {"classifier.weight": ["classes", OUT], "classifier.bias": ["classes"]}
    inputs = {"pooled": ["batch", OUT], **shapes}
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["pooled", "classifier.weight", "classifier.bias"], ["logits"], transB=1)],
        "head",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "classes"])],
        [
            numpy_helper.from_array(np.zeros([1 if size == "classes" else size for size in shape], np.float32), name)
            for name, shape in shapes.items()
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
