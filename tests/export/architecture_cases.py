"""The architectures that svfit promises: tiny models of each, and the page of documentation made from this list.

python tests/export/architecture_cases.py --write     # renew docs/ARCHITECTURES.md
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PAGE = Path(__file__).parents[2] / "docs" / "ARCHITECTURES.md"
VOCABULARY, WIDTH, CLASSES, LENGTH, PAD = 100, 32, 3, 40, 1
ENCODER = ("input_ids", "attention_mask", "token_type_ids")
DECODER = ("input_ids", "attention_mask")


@dataclass(frozen=True)
class Case:
    """One architecture: its class and config in transformers, the graph's inputs, and why it can't work, if so."""

    name: str
    model: str
    config: str
    inputs: tuple[str, ...]
    options: dict[str, Any] = field(default_factory=dict)
    default_tier: bool = False
    refused: str = ""
    remark: str = ""

    def build(self, seed: int = 0) -> PreTrainedModel:
        """A tiny random model: 2 layers, 32 wide, 100 tokens, 3 classes; in eval mode."""
        import torch
        import transformers

        torch.manual_seed(seed)
        sizes = {"vocab_size": VOCABULARY, "num_labels": CLASSES, "pad_token_id": PAD}
        marks = dict.fromkeys(("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"), 2)
        config = getattr(transformers, self.config)(**{**sizes, **marks, **self.options})
        if self.model == "PooledClassifier":
            from pipeline.model.pooled import PooledClassifier

            config.svfit_pooling, config.svfit_dropout = "mean", 0.1
            model: PreTrainedModel = PooledClassifier(config)
        else:
            model = getattr(transformers, self.model)(config)
        with torch.no_grad():  # what starts at 0 or 1 (biases, norms) would hide a wrong graph
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.05)
        return model.eval()


_BERT: dict[str, Any] = {
    "hidden_size": WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
}
_LLAMA = {**_BERT, "num_key_value_heads": 2}

CASES = (
    Case("BERT", "BertForSequenceClassification", "BertConfig", ENCODER, _BERT, default_tier=True),
    Case("RoBERTa", "RobertaForSequenceClassification", "RobertaConfig", DECODER, _BERT, default_tier=True),
    Case(
        "DistilBERT",
        "DistilBertForSequenceClassification",
        "DistilBertConfig",
        DECODER,
        {"dim": WIDTH, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "max_position_embeddings": 64},
    ),
    Case(
        "ELECTRA",
        "ElectraForSequenceClassification",
        "ElectraConfig",
        ENCODER,
        {**_BERT, "embedding_size": 16},
    ),
    Case(
        "ALBERT",
        "AlbertForSequenceClassification",
        "AlbertConfig",
        ENCODER,
        {**_BERT, "embedding_size": 16},
        remark="one layer's weights run several times, and are adapted once",
    ),
    Case("MPNet", "MPNetForSequenceClassification", "MPNetConfig", DECODER, _BERT),
    Case(
        "DeBERTa-v2",
        "DebertaV2ForSequenceClassification",
        "DebertaV2Config",
        ENCODER,
        {
            **_BERT,
            "relative_attention": True,
            "position_buckets": 8,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
            "pos_att_type": ["p2c", "c2p"],
            "position_biased_input": False,
            "type_vocab_size": 0,
        },
        default_tier=True,
    ),
    Case("XLM-RoBERTa", "XLMRobertaForSequenceClassification", "XLMRobertaConfig", DECODER, _BERT),
    Case(
        "ModernBERT",
        "ModernBertForSequenceClassification",
        "ModernBertConfig",
        DECODER,
        {**_BERT, "local_attention": 8, "global_attn_every_n_layers": 2},
    ),
    Case(
        "GPT-2",
        "GPT2ForSequenceClassification",
        "GPT2Config",
        DECODER,
        {"n_embd": WIDTH, "n_layer": 2, "n_head": 4, "n_positions": 64},
        default_tier=True,
        remark="transformers' `Conv1D` layers",
    ),
    Case("Llama", "LlamaForSequenceClassification", "LlamaConfig", DECODER, _LLAMA),
    Case("Qwen3", "Qwen3ForSequenceClassification", "Qwen3Config", DECODER, {**_LLAMA, "head_dim": 8}),
    Case(
        "Pooled encoder",
        "PooledClassifier",
        "BertConfig",
        ENCODER,
        _BERT,
        remark="svfit's own: the mean or first token of any encoder, as its checkpoint says",
    ),
)


def table() -> str:
    """docs/ARCHITECTURES.md, from the list above."""
    rows = [
        f"| {case.name} | `{case.model}` | {'no' if case.refused else 'yes'} | {'no' if case.refused else 'yes'} |"
        f" {'no' if case.refused else 'yes'} | {case.refused or case.remark} |"
        for case in CASES
    ]
    return "\n".join(
        [
            "# Architectures",
            "",
            "<!-- generated: python tests/export/architecture_cases.py --write -->",
            "",
            "Each takes sequence classification through SVFit → two training steps → merge → ONNX → int8 in",
            "`tests/export/test_architectures.py`, on a tiny model built from a config, with these gates: merged and",
            "unmerged agree to a relative 1e-5; ONNX and PyTorch agree to 1e-4 at six shapes, padded and not; the",
            'int8 graph moves no logit by more than 5% of the logits\' range. A "no" is refused by',
            "`svfit export` with the reason given here.",
            "",
            "| architecture | class | merges | ONNX | int8 | remark |",
            "|---|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit("usage: python tests/export/architecture_cases.py --write")
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(table(), encoding="utf-8")
