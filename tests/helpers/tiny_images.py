"""Pictures that a tiny image model can learn, and the model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from image_files import saved
from PIL import Image

LABELS = {"red": (200, 60, 60), "green": (60, 200, 60), "blue": (60, 60, 200)}
SIZE = 16


def picture(label: str, seed: int, height: int = 20, width: int = 24) -> bytes:
    """A PNG of noise around a label's colour."""
    noise = np.random.default_rng(seed).normal(0, 30, (height, width, 3))
    return saved(Image.fromarray((np.array(LABELS[label]) + noise).clip(0, 255).astype(np.uint8)))


def write_pictures(folder: Path, each: int, seed: int) -> Path:
    """An image folder, so many pictures of each label."""
    for at, label in enumerate(LABELS):
        (folder / label).mkdir(parents=True)
        for number in range(each):
            (folder / label / f"{number:03}.png").write_bytes(picture(label, seed + 1000 * at + number))
    return folder


def save_vision(folder: Path, kind: str = "vit") -> Path:
    """A vision model's folder as a hub has it, with its image processor: `vit` or `resnet`, for 16 × 16 pixels."""
    import torch
    import transformers

    torch.manual_seed(0)
    if kind == "vit":
        config = transformers.ViTConfig(
            image_size=SIZE,
            patch_size=8,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=64,
            num_labels=5,
        )
        model: transformers.PreTrainedModel = transformers.ViTForImageClassification(config)
    else:
        sizes = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}
        model = transformers.ResNetForImageClassification(transformers.ResNetConfig(num_labels=5, **sizes))
    model.save_pretrained(folder)
    processor = {
        "image_processor_type": "ViTImageProcessor",
        "size": {"height": SIZE, "width": SIZE},
        "resample": 2,
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


def write_image_task(folder: Path, base: Path, targets: str = "all-linear", more: str = "") -> Path:
    """A configuration with train and test pictures beside it; the validation split is carved."""
    write_pictures(folder / "pictures" / "train", 16, 0)
    write_pictures(folder / "pictures" / "test", 4, 500)
    path = folder / "colours.toml"
    path.write_text(
        f'[model]\nbase = "{base}"\n'
        '[data]\ntask = "image-classification"\ntrain = "pictures"\nvalidation_share = 0.25\n'
        'augment = ["crop", "flip"]\n'
        f'[adapter]\ntargets = "{targets}"\n'
        "[train]\nepochs = 12\nbatch_size = 12\nlearning_rate = 0.05\nhead_learning_rate = 0.05\n" + more
    )
    return path
