"""A bundle of a few KB, sealed and answering: token embeddings, their mean over the mask, one matrix."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from serve.bundle import seal
from serve.manifest import (
    BaseSpec,
    Created,
    InputSpec,
    Manifest,
    MeasuredOn,
    OutputSpec,
    Variant,
)
from serve.pieces import Prepared, Row
from serve.samples import sample_outputs
from serve.session import GraphSession
from serve.tokenize import TextTokenizer

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "pump", "leaking", "fan", "noisy", "the", "is", "again", "line")
LABELS = ("hvac", "plumbing", "other")
SAMPLES: tuple[Row, ...] = ("the pump is leaking again", "fan noisy", "", "the line")
PAIRS: tuple[Row, ...] = (("the pump", "is leaking"), ("fan", "noisy"), ("", "again"))
WIDTH = 8


@dataclass(frozen=True)
class Shape:
    """What kind of bundle to make."""

    labels: Sequence[str] = LABELS
    texts: int = 1
    regression: bool = False
    max_length: int = 16
    default: str = "fp32"
    isa: tuple[str, ...] = ("avx2",)


def tiny_tokenizer() -> Tokenizer:
    """WordPiece over a few whole words, with [CLS] and [SEP] as BERT places them."""
    tokenizer = Tokenizer(
        models.WordPiece({word: place for place, word in enumerate(WORDS)}, unk_token="[UNK]")  # noqa: S106
    )
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return tokenizer


def tiny_graph(width: int, seed: int = 0, scale: float = 1.0) -> bytes:
    """An ONNX model: input_ids and attention_mask, int64 (batch, sequence), to logits (batch, width)."""
    rng = np.random.default_rng(seed)
    weights: dict[str, NDArray[Any]] = {
        "embeddings": rng.normal(size=(len(WORDS), WIDTH)).astype(np.float32),
        "matrix": (scale * rng.normal(size=(WIDTH, width))).astype(np.float32),
        "last": np.array([2], dtype=np.int64),
        "sequence": np.array([1], dtype=np.int64),
    }
    nodes = [
        helper.make_node("Gather", ["embeddings", "input_ids"], ["vectors"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["column"]),
        helper.make_node("Mul", ["vectors", "column"], ["masked"]),
        helper.make_node("ReduceSum", ["masked", "sequence"], ["sum"], keepdims=0),
        helper.make_node("ReduceSum", ["column", "sequence"], ["count"], keepdims=0),
        helper.make_node("Div", ["sum", "count"], ["mean"]),
        helper.make_node("MatMul", ["mean", "matrix"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"])
            for name in ("input_ids", "attention_mask")
        ],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", width])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    data: bytes = model.SerializeToString()
    return data


def make_bundle(folder: Path, shape: Shape | None = None) -> Path:
    """Write and seal a bundle in `folder`, with variants fp32 and int8 (the latter only called so)."""
    shape = shape or Shape()
    width = 1 if shape.regression else len(shape.labels)
    inputs = InputSpec(shape.texts, ("input_ids", "attention_mask"), shape.max_length, 0, 0, "[PAD]", "right")
    output = OutputSpec("logits", width)
    files = {"fp32": "model.onnx", "int8": "variants/int8/model.onnx"}
    for name, scale in (("fp32", 1.0), ("int8", 1.001)):
        (folder / files[name]).parent.mkdir(parents=True, exist_ok=True)
        (folder / files[name]).write_bytes(tiny_graph(width, scale=scale))
    tiny_tokenizer().save(str(folder / "tokenizer.json"))
    adapter = folder / "adapters" / "default"
    adapter.mkdir(parents=True)
    (adapter / "adapter.json").write_text('{"basis_id": "b"}\n')
    (adapter / "adapter.safetensors").write_bytes(b"\x02\x00\x00\x00\x00\x00\x00\x00{}")
    rows = SAMPLES if shape.texts == 1 else PAIRS
    tokenizer = TextTokenizer.from_file(folder / "tokenizer.json", inputs)
    ready = [Prepared((tokenizer.encode(row),)) for row in rows]
    outputs = {
        name: [
            found.tolist() for found in sample_outputs(GraphSession(folder / file, inputs, output), tokenizer, ready)
        ]
        for name, file in files.items()
    }
    listed = [[row] if isinstance(row, str) else list(row) for row in rows]
    samples = {"rows": listed, "outputs": outputs, "tolerance": {"fp32": 1e-4, "int8": 1e-2}}
    (folder / "samples.json").write_text(json.dumps(samples))
    seal(folder, tiny_manifest(folder, shape, inputs, output, files))
    return folder


def tiny_manifest(folder: Path, shape: Shape, inputs: InputSpec, output: OutputSpec, files: dict[str, str]) -> Manifest:
    """The manifest of such a bundle, before it is sealed."""
    return Manifest(
        name="tiny",
        task="text-regression" if shape.regression else "text-classification",
        labels=() if shape.regression else tuple(shape.labels),
        input=inputs,
        output=output,
        base=BaseSpec("local:tiny", "0" * 64),
        basis_id="b" * 64,
        adapter={"name": "default"},
        variants=tuple(
            Variant(name, file, name, name == shape.default, (folder / file).stat().st_size)
            for name, file in files.items()
        ),
        default_variant=shape.default,
        measured_on=MeasuredOn("a test's processor", shape.isa, 1, "1.32.0"),
        created=Created("0.1.0", "2026-01-01T00:00:00Z", {}),
    )


def reseal(folder: Path, **changes: Any) -> None:
    """Write manifest.json anew over changed files, with keys of the manifest replaced."""
    value = json.loads((folder / "manifest.json").read_text())
    seal(folder, Manifest.from_dict({**value, **changes}))
