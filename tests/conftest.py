"""What every test stands on: no hub, a cache of its own, and tiny models that learn in a blink."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # here, not in a fixture: huggingface_hub reads it when it is imported

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from export.store import FactorStore

TinyModel = Callable[..., "PreTrainedModel"]
WORDS = ("pump", "leak", "valve", "fan", "noise", "hot", "cold", "line", "door", "lamp", "dark", "bright")
TINY: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("Bert", {}),
    "roberta": ("Roberta", {}),
    "albert": ("Albert", {"embedding_size": 16}),
    "gpt2": ("GPT2", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}),
}


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["SVFIT_CACHE"] = str(tmp_path_factory.mktemp("svfit-cache"))


@pytest.fixture
def store(tmp_path: Path) -> FactorStore:
    """An empty store of factors."""
    from export.store import FactorStore

    return FactorStore(tmp_path / "store")


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory, tokenizer: PreTrainedTokenizerFast) -> Path:
    """A sentence encoder's folder as a hub has it, made once: tests leave it as it is."""
    from tiny_base import save_base

    return save_base(tmp_path_factory.mktemp("base"), tokenizer)


@pytest.fixture(scope="session")
def tiny_model() -> TinyModel:
    """`tiny_model(name, labels=3, seed=0, **options)`: 2 layers, 32 wide, random weights, biases too."""
    import torch
    import transformers

    def build(name: str, labels: int = 3, seed: int = 0, **options: Any) -> PreTrainedModel:
        torch.manual_seed(seed)
        family, own = TINY[name]
        sizes: dict[str, Any] = {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 48,
            "max_position_embeddings": 64,
        }
        marks = dict.fromkeys(("bos_token_id", "eos_token_id"), 2)
        shared = {"vocab_size": len(WORDS) + 4, "num_labels": labels, "pad_token_id": 0, **marks}
        given = {**shared, **(sizes if name != "gpt2" else {}), **own, **options}
        config = getattr(transformers, f"{family}Config")(**given)
        model: PreTrainedModel = getattr(transformers, f"{family}ForSequenceClassification")(config)
        with torch.no_grad():  # what starts at 0 or 1 (biases, norms) would hide a mistake
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.05)
        model.eval()
        return model

    return build


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    """A word a token, with BERT's special tokens, for one text or a pair."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = {key: f"[{key[:3].upper()}]" for key in ("pad_token", "unk_token", "cls_token", "sep_token")}
    core = Tokenizer(models.WordLevel({word: at for at, word in enumerate([*special.values(), *WORDS])}, "[UNK]"))
    core.normalizer = normalizers.Lowercase()
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        **special,
        model_max_length=64,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )
