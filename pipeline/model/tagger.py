"""A class for each token, on the bare encoder: the one that a pooled classifier has, so that a bundle can share it."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import TokenClassifierOutput

from pipeline.model.load import Loaded, bare, first_line, load_tokenizer, read_config, set_pad
from pipeline.model.pooled import bare_encoder
from pipeline.model.source import Source
from serve.errors import InputError

NO_POOLING = "tokens"


class Tagger(PreTrainedModel):
    """Encoder, dropout, one linear map of each token's vector to the tags. `config.svfit_dropout` is the dropout."""

    config_class = PretrainedConfig
    base_model_prefix = "encoder"
    main_input_name = "input_ids"

    def __init__(self, config: PretrainedConfig, encoder: nn.Module | None = None) -> None:
        super().__init__(config)
        self.encoder = encoder if encoder is not None else bare_encoder(config)
        self.dropout = nn.Dropout(float(config.svfit_dropout))
        self.classifier = nn.Linear(config.hidden_size, config.num_labels or 1)
        self._takes_types = "token_type_ids" in inspect.signature(self.encoder.forward).parameters
        self.post_init()  # type: ignore[no-untyped-call]

    def _init_weights(self, module: nn.Module) -> None:
        if module is self.classifier:
            nn.init.normal_(self.classifier.weight, std=0.02)
            nn.init.zeros_(self.classifier.bias)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        token_type_ids: torch.Tensor | None = None,
        **_: Any,
    ) -> TokenClassifierOutput:
        """`input_ids`, `attention_mask` int64 `(batch, sequence)`; `.logits` float `(batch, sequence, tags)`."""
        types = {"token_type_ids": token_type_ids} if self._takes_types and token_type_ids is not None else {}
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask, **types).last_hidden_state
        return TokenClassifierOutput(logits=self.classifier(self.dropout(hidden)))


def load_tagger(source: Source, tags: Sequence[str], *, dropout: float = 0.1) -> Loaded:
    """The base model in float32 with a fresh map to the tags. Raises `InputError` as `pipeline.model.load.load`."""
    tokenizer, config = load_tokenizer(source.folder), read_config(source)
    config.num_labels = len(tags)
    config.id2label = dict(enumerate(tags))
    config.label2id = {tag: place for place, tag in enumerate(tags)}
    config.svfit_pooling, config.svfit_dropout = NO_POOLING, dropout
    model = Tagger(config, bare(source, config))
    if tokenizer.pad_token_id is None:
        set_pad(tokenizer, source)
    model.config.pad_token_id = tokenizer.pad_token_id
    return Loaded(model, tokenizer, ("classifier",), NO_POOLING)


def load_merged_tagger(folder: Path) -> Loaded:
    """A tagger that `merge` wrote, in evaluation mode. Raises `InputError` where it can't be read."""
    try:
        model: PreTrainedModel = Tagger.from_pretrained(folder, config=AutoConfig.from_pretrained(folder))
    except (OSError, ValueError, SafetensorError) as error:
        raise InputError(f"{folder}: no merged model that transformers can read ({first_line(error)})") from None
    model.eval()
    return Loaded(model, load_tokenizer(folder), (), NO_POOLING)
