"""A classifier on pooled token vectors, for encoders whose checkpoint says how it pools."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn
from transformers import AutoModel, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput


class OnEncoder(PreTrainedModel):
    """What svfit puts on a bare encoder: all alike in the encoder's name, so that a bundle can share one."""

    config_class = PretrainedConfig
    base_model_prefix = "encoder"
    main_input_name = "input_ids"

    def __init__(self, config: PretrainedConfig, encoder: nn.Module | None = None) -> None:
        super().__init__(config)
        self.encoder = encoder if encoder is not None else bare_encoder(config)
        self._takes_types = "token_type_ids" in inspect.signature(self.encoder.forward).parameters
        self._put_on(config)
        self.post_init()  # type: ignore[no-untyped-call]

    def _put_on(self, config: PretrainedConfig) -> None:
        """Dropout of `config.svfit_dropout` and one linear map to the labels."""
        self.dropout = nn.Dropout(float(config.svfit_dropout))
        self.classifier = nn.Linear(config.hidden_size, config.num_labels or 1)

    def _init_weights(self, module: nn.Module) -> None:
        if module is getattr(self, "classifier", None):
            nn.init.normal_(self.classifier.weight, std=0.02)
            nn.init.zeros_(self.classifier.bias)

    def hidden(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor | None
    ) -> torch.Tensor:
        """The tokens' vectors, `(batch, sequence, d)`."""
        types = {"token_type_ids": token_type_ids} if self._takes_types and token_type_ids is not None else {}
        found: torch.Tensor = self.encoder(
            input_ids=input_ids, attention_mask=attention_mask, **types
        ).last_hidden_state
        return found


class PooledClassifier(OnEncoder):
    """Encoder, mean or first-token pooling, dropout, one linear map to the labels.

    `config.svfit_pooling` is `"mean"` or `"cls"`, `config.svfit_dropout` the dropout before the linear map. Mean
    pooling divides by the number of attended tokens (Sentence-BERT, arXiv 1908.10084, section 3).
    """

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        token_type_ids: torch.Tensor | None = None,
        **_: Any,
    ) -> SequenceClassifierOutput:
        """`input_ids`, `attention_mask` int64 `(batch, sequence)`; `.logits` float `(batch, labels)`."""
        hidden = self.hidden(input_ids, attention_mask, token_type_ids)
        pooled = pool(hidden, attention_mask, self.config.svfit_pooling)
        return SequenceClassifierOutput(logits=self.classifier(self.dropout(pooled)))


def pool(hidden: torch.Tensor, attention_mask: torch.Tensor, how: str) -> torch.Tensor:
    """`hidden (batch, sequence, d)` to one vector a row, `(batch, d)`; `how` is `"mean"` or `"cls"`."""
    if how == "cls":
        return hidden[:, 0]
    mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * mask).sum(1) / mask.sum(1).clamp(min=1.0)


def bare_encoder(config: PretrainedConfig) -> nn.Module:
    """An encoder of this configuration without a pooler of its own, where the architecture lets it be left out."""
    try:
        encoder: nn.Module = AutoModel.from_config(config, add_pooling_layer=False)
    except TypeError:
        encoder = AutoModel.from_config(config)
    return encoder
