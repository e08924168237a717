"""A bundle of a few KB that tells an image's colour: the mean of each channel is its logit."""

from __future__ import annotations

from pathlib import Path

from onnx import TensorProto, helper
from tiny_images import LABELS, picture

from export.pack import VariantFiles, write_bundle
from serve.images.spec import ImageSpec
from serve.manifest import BaseSpec

SPEC = ImageSpec("pixel_values", 3, 8, 8, "exact", (8, 8), "bilinear", False, 1 / 255, mean=(0.5,) * 3, std=(0.1,) * 3)


def mean_graph() -> bytes:
    """An ONNX model: pixels float32 (batch, 3, 8, 8) to logits (batch, 3)."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["pixel_values"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["logits"]),
    ]
    sides = (("pixel_values", ["batch", *SPEC.shape]), ("logits", ["batch", 3]))
    taken, given = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in sides)
    graph = helper.make_graph(nodes, "colours", [taken], [given])
    data: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9
    ).SerializeToString()
    return data


def make_image_bundle(folder: Path) -> Path:
    """Write and seal such a bundle; its labels are the colours of `tiny_images`."""
    work = folder.parent / f"{folder.name}.parts"
    work.mkdir()
    (work / "model.onnx").write_bytes(mean_graph())
    (work / "adapter.json").write_text('{"basis_id": "b"}\n')
    (work / "adapter.safetensors").write_bytes(b"\x02\x00\x00\x00\x00\x00\x00\x00{}")
    return write_bundle(
        folder,
        name="colours",
        task="image-classification",
        labels=tuple(LABELS),
        inputs=SPEC,
        width=3,
        variants=[VariantFiles("fp32", work / "model.onnx")],
        default_variant="fp32",
        tokenizer_json=None,
        adapters={"default": work},
        samples=[picture(label, seed) for seed in range(3) for label in LABELS],
        base=BaseSpec("local:colours", "0" * 64),
        basis_id="b" * 64,
    )
