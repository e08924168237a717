"""Load an image classifier: the architecture's own, with a fresh head for the task's labels."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from transformers import (
    MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    AutoConfig,
    AutoModelForImageClassification,
    PreTrainedModel,
)

from pipeline.model.image_spec import PROCESSOR, image_spec
from pipeline.model.load import Loaded, first_line, name_labels, read_config, refuse_random, unreadable, whole_modules
from pipeline.model.source import Source
from serve.errors import InputError
from serve.files import write_json
from serve.images.spec import ImageSpec

SPEC = "preprocessor.json"
"""Beside a merged model: how images become its input, as the bundle's manifest says it."""


@dataclass(frozen=True)
class ImageReader:
    """What makes a model's input of images, and the folder that it was found in."""

    spec: ImageSpec
    folder: Path

    def save_pretrained(self, save_directory: Path | str) -> None:
        """Write it beside a model; also in transformers' own form, where the base had that."""
        folder = Path(save_directory)
        write_json(folder / SPEC, self.spec.to_dict())
        if (self.folder / PROCESSOR).is_file() and self.folder != folder:
            shutil.copyfile(self.folder / PROCESSOR, folder / PROCESSOR)


def load_vision(source: Source, labels: Sequence[str]) -> Loaded:
    """The base model in float32, one output a label. Raises `InputError` for one that classifies no images, or whose
    images can't be prepared on a device as its processor does."""
    config = read_config(source)
    name_labels(config, labels)
    try:
        model, report = AutoModelForImageClassification.from_pretrained(
            source.folder, config=config, output_loading_info=True, ignore_mismatched_sizes=True, dtype="float32"
        )
    except ValueError as error:
        raise InputError(f"model.base: {source.name} has no image classifier ({first_line(error)})") from None
    except (OSError, SafetensorError) as error:
        raise unreadable(source, error) from None
    missing = set(report["missing_keys"])
    refuse_random(source, {key for key in missing if key.startswith(f"{model.base_model_prefix}.")})
    reader = ImageReader(image_spec(source.folder, config), source.folder)
    return Loaded(model, reader, whole_modules(model, missing), "architecture")


def reads_images(source: Source) -> bool:
    """Whether a base model classifies images, and no texts. Raises `InputError` where it can't be read."""
    kind = type(read_config(source))
    return kind in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING and kind not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING


def load_merged_vision(folder: Path) -> Loaded:
    """A model that `merge` wrote, in evaluation mode. Raises `InputError` where it can't be read."""
    try:
        config = AutoConfig.from_pretrained(folder)
        model: PreTrainedModel = AutoModelForImageClassification.from_pretrained(folder, config=config)
        described: Any = json.loads((folder / SPEC).read_text("utf-8"))
    except (OSError, ValueError, SafetensorError) as error:
        raise InputError(f"{folder}: no merged model that transformers can read ({first_line(error)})") from None
    model.eval()
    return Loaded(model, ImageReader(ImageSpec.from_dict(described, SPEC), folder), (), "")
