"""A sentence encoder: pooled token vectors of length 1, as sentence-transformers gives them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from transformers import PretrainedConfig
from transformers.utils.generic import ModelOutput

from pipeline.model.load import Loaded, bare, load_tokenizer, read_config, read_merged, set_pad
from pipeline.model.pooled import OnEncoder, pool
from pipeline.model.source import Source, read_object, read_objects
from serve.errors import InputError, UsageError

MODULES = ("Transformer", "Pooling", "Normalize")
"""The parts of a sentence-transformers model that a `PooledEncoder` has."""


@dataclass
class Embedded(ModelOutput):
    """`embedding` float `(batch, d)`, each row of length 1."""

    embedding: torch.Tensor | None = None


class PooledEncoder(OnEncoder):
    """Encoder, mean or first-token pooling, length 1 (Sentence-BERT, arXiv 1908.10084, section 3).

    `config.svfit_pooling` is `"mean"` or `"cls"`. There is no head: outside the encoder nothing is trained.
    """

    def _put_on(self, config: PretrainedConfig) -> None:
        """Nothing: all that it has is the encoder's, which brings its weights."""

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        token_type_ids: torch.Tensor | None = None,
        **_: Any,
    ) -> Embedded:
        """`input_ids`, `attention_mask` int64 `(batch, sequence)`, or `(batch, texts, sequence)` for rows of several
        texts; `.embedding` float `(batch, d)`, or `(batch, texts, d)`."""
        if input_ids.dim() == 3:
            given = (input_ids, attention_mask, token_type_ids)
            flat = self(*(None if value is None else value.flatten(0, 1) for value in given))
            return Embedded(embedding=flat.embedding.unflatten(0, input_ids.shape[:2]))
        hidden = self.hidden(input_ids, attention_mask, token_type_ids)
        return Embedded(embedding=functional.normalize(pool(hidden, attention_mask, self.config.svfit_pooling), dim=-1))


def load_embedder(source: Source, *, pooling: str = "auto") -> Loaded:
    """The base model in float32 as an embedder, pooled as it says itself (`auto`; else by mean), by mean or by cls.

    Raises `UsageError` for another pooling, `InputError` as `pipeline.model.load.load` and `check_modules`.
    """
    if pooling == "architecture":
        raise UsageError("model.pooling: an embedder pools by mean or cls; an architecture's own head gives no vectors")
    tokenizer, config = load_tokenizer(source.folder), read_config(source)
    check_modules(source.folder)
    chosen = (source.pooling() or "mean") if pooling == "auto" else pooling
    config.svfit_pooling = chosen
    model = PooledEncoder(config, bare(source, config))
    set_pad(model, tokenizer, source)
    return Loaded(model, tokenizer, (), chosen, width=int(config.hidden_size))


def load_merged_embedder(folder: Path) -> Loaded:
    """An embedder that `merge` wrote, in evaluation mode. Raises `InputError` where it can't be read."""
    model = read_merged(folder, lambda _: PooledEncoder)
    config = model.config
    return Loaded(model, load_tokenizer(folder), (), config.svfit_pooling, width=int(config.hidden_size))


def check_modules(folder: Path) -> None:
    """Refuse a sentence-transformers checkpoint whose vectors a `PooledEncoder` wouldn't give.

    Raises InputError for a module besides Transformer, Pooling and Normalize (a Dense layer, say), and for a prompt
    that is put before every text. A folder without modules.json is a plain encoder.
    """
    path = folder / "modules.json"
    if path.is_file():
        kinds = [str(entry.get("type", "")).rpartition(".")[2] for entry in read_objects(path)]
        other = [kind for kind in kinds if kind not in MODULES]
        if other:
            raise InputError(
                f"{path}: its vectors pass through {', '.join(other)}; svfit builds {', '.join(MODULES)} only; "
                "choose a checkpoint without it"
            )
    prompts = folder / "config_sentence_transformers.json"
    if prompts.is_file():
        default = read_object(prompts).get("default_prompt_name")
        if default:
            raise InputError(
                f"{prompts}: puts the prompt {default!r} before every text, which svfit doesn't; remove "
                "default_prompt_name from a copy of the folder, and write the prompt into your texts"
            )
