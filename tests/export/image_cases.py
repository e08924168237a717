"""Tiny image models of each architecture that svfit promises."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CLASSES, SIZE = 3, 32
SHAPE = (3, SIZE, SIZE)


@dataclass(frozen=True)
class ImageCase:
    """One architecture: its class and config in transformers, what of it is adapted, and why it can't work, if so."""

    name: str
    model: str
    config: str
    options: dict[str, Any] = field(default_factory=dict)
    targets: str = "all"
    default_tier: bool = False
    refused: str = ""

    def build(self, seed: int = 0) -> PreTrainedModel:
        """A tiny random model for 32 × 32 pixels and 3 classes; in eval mode."""
        import torch
        import transformers

        torch.manual_seed(seed)
        config = getattr(transformers, self.config)(num_labels=CLASSES, **self.options)
        model: PreTrainedModel = getattr(transformers, self.model)(config)
        with torch.no_grad():  # what starts at 0 or 1 (biases, norms) would hide a wrong graph
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.05)
        return model.eval()


_VIT: dict[str, Any] = {
    "image_size": SIZE,
    "patch_size": 8,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}
_STAGES: dict[str, Any] = {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2}

IMAGE_CASES = (
    ImageCase("ViT", "ViTForImageClassification", "ViTConfig", _VIT, default_tier=True),
    ImageCase("DeiT", "DeiTForImageClassification", "DeiTConfig", _VIT),
    ImageCase(
        "BEiT",
        "BeitForImageClassification",
        "BeitConfig",
        {**_VIT, "use_relative_position_bias": True, "use_absolute_position_embeddings": False},
    ),
    ImageCase(
        "Swin",
        "SwinForImageClassification",
        "SwinConfig",
        {"image_size": SIZE, "patch_size": 4, "embed_dim": 16, "depths": [1, 1], "num_heads": [2, 4], "window_size": 4},
        default_tier=True,
    ),
    ImageCase("DINOv2", "Dinov2ForImageClassification", "Dinov2Config", {**_VIT, "mlp_ratio": 2}),
    ImageCase("ConvNeXt", "ConvNextForImageClassification", "ConvNextConfig", _STAGES, default_tier=True),
    ImageCase(
        "ResNet",
        "ResNetForImageClassification",
        "ResNetConfig",
        {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"},
        default_tier=True,
    ),
)
