"""Every image architecture: wrapped with its convolutions, trained, folded, exported, and held to PyTorch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from image_cases import CLASSES, IMAGE_CASES, SHAPE, ImageCase

from export.graph import export_onnx
from export.parity import Batch, check_parity, gate_parity, random_images
from pipeline.svf import wrap
from serve.errors import InputError

MERGED = 1e-5  # relative: the fold reorders float32 sums, nothing else

PARAMETERS = [
    pytest.param(case, id=case.name, marks=() if case.default_tier else pytest.mark.real) for case in IMAGE_CASES
]


def logits(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    found: torch.Tensor = model(pixel_values=torch.from_numpy(batch.feeds["pixel_values"])).logits
    return found


@pytest.mark.parametrize("case", PARAMETERS)
def test_wrap_train_merge_and_export(case: ImageCase, tmp_path: Path) -> None:
    model = case.build()
    given = random_images("pixel_values", SHAPE)
    with torch.no_grad():
        base = logits(model, given[2])
    svfit = wrap(model, targets=case.targets)
    assert any(layer.base.weight.ndim == 4 for layer in svfit.layers.values())
    svfit.add("default")
    svfit.activate("default")
    groups = svfit.trainable()
    optimizer = torch.optim.AdamW([value for group in groups.values() for _, value in group], lr=3e-2)
    for _ in range(2):
        loss = torch.nn.functional.cross_entropy(logits(model, given[2]), torch.arange(len(base)) % CLASSES)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        unmerged = logits(model, given[2])
        svfit.fold("default")
        merged = svfit.merged()
        after = logits(merged, given[2])
    assert (unmerged - base).abs().max() > 1e-3  # it learned something
    assert (after - unmerged).abs().max() <= MERGED * unmerged.abs().max()

    path = tmp_path / "model.onnx"
    sample = {"pixel_values": torch.from_numpy(given[0].feeds["pixel_values"])}
    if case.refused:
        with pytest.raises(InputError, match=case.refused):
            export_onnx(merged, sample, path, {})
        return
    info = export_onnx(merged, sample, path, {"task": "image-classification"})
    assert info.inputs == ("pixel_values",)
    rows = check_parity(merged, path, given)
    gate_parity(rows)
    graph = onnx.load(path).graph
    shape = [dim.dim_param or dim.dim_value for dim in graph.input[0].type.tensor_type.shape.dim]
    assert shape == ["batch", *SHAPE]
    convolutions = [node.name for node in graph.node if node.op_type == "Conv"]
    assert convolutions
    assert set(convolutions) <= {name for name, _ in merged.named_modules()}
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    wide = np.concatenate([batch.feeds["pixel_values"] for batch in given])
    assert session.run(None, {"pixel_values": wide})[0].shape == (len(wide), CLASSES)
