from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

from architecture_cases import CASES, LENGTH, PAD, VOCABULARY
from exported_bert import Exported

from export.graph import export_onnx
from export.parity import random_batches


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Exported once for the session, from a batch of one row and one token: the hardest to keep dynamic."""
    import torch

    model = CASES[0].build()
    path = tmp_path_factory.mktemp("bert") / "model.onnx"
    sample = {name: torch.full((1, 1), 3) for name in CASES[0].inputs}
    sample["attention_mask"] = torch.ones(1, 1, dtype=torch.int64)
    sample["token_type_ids"] = torch.zeros(1, 1, dtype=torch.int64)
    info = export_onnx(model, sample, path, {"task": "text-classification", "labels": '["a", "b", "c"]'})
    batches = random_batches(CASES[0].inputs, vocabulary=VOCABULARY, pad_id=PAD, max_length=LENGTH, type_vocabulary=2)
    return Exported(model, path, info, batches)
