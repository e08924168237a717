from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from architecture_cases import CASES, CLASSES, LENGTH, PAD, PAGE, VOCABULARY, Case, table

from export.graph import export_onnx
from export.int8 import layers, write_int8
from export.parity import Batch, check_parity, gate_parity, random_batches
from pipeline.svf import wrap
from serve.errors import InputError

MERGED = 1e-5  # relative: the fold reorders float32 sums, nothing else
INT8 = 0.05  # of the logits' range: twice what the worst of them (GPT-2, Llama, Qwen3) moved by, 0.025

PARAMETERS = [pytest.param(case, id=case.name, marks=() if case.default_tier else pytest.mark.real) for case in CASES]


def batches(model: torch.nn.Module, case: Case) -> list[Batch]:
    types = getattr(model.config, "type_vocab_size", 0) if "token_type_ids" in case.inputs else 0
    return random_batches(case.inputs, vocabulary=VOCABULARY, pad_id=PAD, max_length=LENGTH, type_vocabulary=types)


def logits(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    return model(**{name: torch.from_numpy(value) for name, value in batch.feeds.items()}).logits


def run(path: Path, given: list[Batch]) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, batch.feeds)[0] for batch in given])


@pytest.mark.parametrize("case", PARAMETERS)
def test_wrap_train_merge_export_and_quantize(case: Case, tmp_path: Path) -> None:
    model = case.build()
    given = batches(model, case)
    with torch.no_grad():
        base = logits(model, given[-1])
    svfit = wrap(model)
    svfit.add("default")
    svfit.activate("default")
    groups = svfit.trainable()
    assert groups["adapter"] and groups["head"]
    optimizer = torch.optim.AdamW([value for group in groups.values() for _, value in group], lr=3e-2)
    model.train()
    for _ in range(2):
        loss = torch.nn.functional.cross_entropy(logits(model, given[-1]), torch.arange(len(base)) % CLASSES)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        unmerged = logits(model, given[-1])
        svfit.fold("default")
        merged = svfit.merged()
        after = logits(merged, given[-1])
    assert (unmerged - base).abs().max() > 1e-3  # it learned something
    assert (after - unmerged).abs().max() <= MERGED * unmerged.abs().max()

    fp32, int8 = tmp_path / "model.onnx", tmp_path / "int8.onnx"
    sample = {name: torch.from_numpy(value) for name, value in given[-1].feeds.items()}
    if case.refused:
        with pytest.raises(InputError, match=case.refused):
            export_onnx(merged, sample, fp32, {})
        return
    info = export_onnx(merged, sample, fp32, {"task": "text-classification"})
    assert set(info.inputs) == set(case.inputs)
    gate_parity(check_parity(merged, fp32, given))

    graph = onnx.load(fp32)
    names = layers(graph)
    assert len(names) == len(set(names))
    assert not [name for name in names if name.startswith("node_")]  # each is named after its module
    write_int8(graph, int8)
    wanted, got = run(fp32, given), run(int8, given)
    assert np.abs(got - wanted).max() <= INT8 * np.ptp(wanted)


def test_the_page_lists_the_tested_architectures() -> None:
    assert PAGE.read_text(encoding="utf-8") == table(), (
        "docs/ARCHITECTURES.md is behind; run: python tests/export/architecture_cases.py --write"
    )


def test_every_promised_architecture_is_tested() -> None:
    promised = "BERT RoBERTa DistilBERT ELECTRA ALBERT MPNet DeBERTa-v2 XLM-RoBERTa ModernBERT GPT-2 Llama Qwen3"
    assert set(promised.split()) <= {case.name for case in CASES}
