"""A run on a tiny encoder, made once, that every test of updates may copy and go on from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tiny_task import Finished, svfit, write_task

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory, tokenizer: PreTrainedTokenizerFast) -> Path:
    """A sentence encoder's folder as a hub has it: bare BERT, fast tokenizer, mean pooling in 1_Pooling."""
    import torch
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("base")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=64,
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True}))
    return folder


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Finished:
    """`svfit finetune` once: plumbing and electrical, 200 rows."""
    folder = tmp_path_factory.mktemp("trained")
    config = write_task(folder, base)
    result = svfit("finetune", config, "--output", folder / "run", "--debug")
    assert result.exit_code == 0, result.stderr
    return Finished(config, folder / "run", result.stdout, result.stderr)


@pytest.fixture
def run(trained: Finished, tmp_path: Path) -> Path:
    """A copy of that run's folder, called `tickets`; its rows stay where they are."""
    return Path(shutil.copytree(trained.folder, tmp_path / "tickets"))
