"""A class for each token, on the bare encoder: the one that a pooled classifier has, so that a bundle can share it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers.modeling_outputs import TokenClassifierOutput

from pipeline.model.load import Loaded, bare, load_tokenizer, name_labels, read_config, read_merged, set_pad
from pipeline.model.pooled import OnEncoder
from pipeline.model.source import Source

NO_POOLING = "tokens"


class Tagger(OnEncoder):
    """Encoder, dropout, one linear map of each token's vector to the tags. `config.svfit_dropout` is the dropout."""

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        token_type_ids: torch.Tensor | None = None,
        **_: Any,
    ) -> TokenClassifierOutput:
        """`input_ids`, `attention_mask` int64 `(batch, sequence)`; `.logits` float `(batch, sequence, tags)`."""
        hidden = self.hidden(input_ids, attention_mask, token_type_ids)
        return TokenClassifierOutput(logits=self.classifier(self.dropout(hidden)))


def load_tagger(source: Source, tags: Sequence[str], *, dropout: float = 0.1) -> Loaded:
    """The base model in float32 with a fresh map to the tags. Raises `InputError` as `pipeline.model.load.load`."""
    tokenizer, config = load_tokenizer(source.folder), read_config(source)
    name_labels(config, tags)
    config.svfit_pooling, config.svfit_dropout = NO_POOLING, dropout
    model = Tagger(config, bare(source, config))
    set_pad(model, tokenizer, source)
    return Loaded(model, tokenizer, ("classifier",), NO_POOLING)


def load_merged_tagger(folder: Path) -> Loaded:
    """A tagger that `merge` wrote, in evaluation mode. Raises `InputError` where it can't be read."""
    model = read_merged(folder, lambda _: Tagger)
    return Loaded(model, load_tokenizer(folder), (), NO_POOLING)
