"""A sealed bundle of a few KB that finds entities: each word's tag is a row of one matrix."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from tiny_bundle import WORDS, Shape, tiny_manifest, tiny_tokenizer

from serve.bundle import seal
from serve.entities import tags_of
from serve.manifest import InputSpec, OutputSpec
from serve.samples import sample_outputs
from serve.session import GraphSession
from serve.tasks import task_of
from serve.tasks.task import Asked
from serve.tokenize import TextTokenizer

TAGS = tags_of(("part", "state"))
KNOWN = {"pump": "B-part", "line": "I-part", "fan": "B-part", "leaking": "B-state", "noisy": "B-state"}
"""The words of `tiny_bundle.WORDS` that are entities, always; `line` goes on with one, as in `pump line`."""
MAX_LENGTH = 16
SURE = 5.0


def make_tagger(folder: Path) -> Path:
    """Write and seal it."""
    inputs = InputSpec(1, ("input_ids", "attention_mask"), MAX_LENGTH, 0, 0, "[PAD]", "right")
    output = OutputSpec("logits", len(TAGS), per_token=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(_graph())
    tiny_tokenizer().save(str(folder / "tokenizer.json"))
    adapter = folder / "adapters" / "default"
    adapter.mkdir(parents=True)
    (adapter / "adapter.json").write_text('{"basis_id": "b"}\n')
    (adapter / "adapter.safetensors").write_bytes(b"\x02\x00\x00\x00\x00\x00\x00\x00{}")
    rows = ["the pump is leaking again", "fan noisy", "", "the line " * 20]
    encoder, task = TextTokenizer.from_file(folder / "tokenizer.json", inputs), task_of("token-classification")
    ready = [task.prepare(encoder, row, Asked(1, None, row)) for row in rows]
    found = sample_outputs(GraphSession(folder / "model.onnx", inputs, output), encoder, ready)
    outputs = {"fp32": [one.tolist() for one in found]}
    samples = {"rows": [[row] for row in rows], "outputs": outputs, "tolerance": {"fp32": 1e-4}}
    (folder / "samples.json").write_text(json.dumps(samples))
    made = tiny_manifest(folder, Shape(labels=TAGS), inputs, output, {"fp32": "model.onnx"})
    seal(folder, dataclasses.replace(made, task="token-classification"))
    return folder


def _graph() -> bytes:
    """input_ids, int64 (batch, sequence), to logits (batch, sequence, tags)."""
    matrix = np.zeros((len(WORDS), len(TAGS)), dtype=np.float32)
    for place, word in enumerate(WORDS):
        matrix[place, TAGS.index(KNOWN.get(word, "O"))] = SURE
    nodes: list[Any] = [
        helper.make_node("Gather", ["matrix", "input_ids"], ["vectors"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["column"]),
        helper.make_node("Mul", ["vectors", "column"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tagger",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"])
            for name in ("input_ids", "attention_mask")
        ],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "sequence", len(TAGS)])],
        [numpy_helper.from_array(matrix, "matrix"), numpy_helper.from_array(np.array([2], dtype=np.int64), "last")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    data: bytes = model.SerializeToString()
    return data
