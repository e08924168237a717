"""Images into classes."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np

from export.parity import Batch, random_images
from pipeline.config.schema import Config, DataSection
from pipeline.data import Dataset, Split
from pipeline.data.images import load_images
from pipeline.data.picture_profile import profile_pictures
from pipeline.data.pictures import Picture
from pipeline.model.load import Loaded
from pipeline.model.source import Source
from pipeline.model.vision import ImageReader, load_merged_vision, load_vision
from pipeline.train.images import ForImages, ImageRows
from pipeline.train.learning import Learning, TrainRows
from pipeline.train.metrics import detail
from serve.answers import Prediction
from serve.errors import InputError
from serve.images.decode import decode, encode_png
from serve.images.spec import ImageSpec
from serve.manifest import Inputs
from serve.pieces import Output, Prepared, Row

THUMBNAIL = 96
"""Pixels along the longer edge of an image in the report."""


class Files(Sequence[Row]):
    """Images' files, read when they are asked for."""

    def __init__(self, pictures: Sequence[Picture]) -> None:
        self._pictures = pictures

    def __len__(self) -> int:
        return len(self._pictures)

    @overload
    def __getitem__(self, place: int) -> Row: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Row]: ...
    def __getitem__(self, place: int | slice) -> Row | Sequence[Row]:
        if isinstance(place, slice):
            return Files(self._pictures[place])
        return self._pictures[place].read()


class ImageClassification:
    """A class for each image."""

    name = "image-classification"

    def read(self, data: DataSection, seed: int) -> Dataset:
        return load_images(
            train=data.train,
            validation=data.validation,
            test=data.test,
            image=data.image,
            label=data.label,
            augment=data.augment,
            validation_share=data.validation_share,
            seed=seed,
            format=data.format,
            dataset=data.dataset,
            dataset_config=data.dataset_config,
        )

    def profile(self, dataset: Dataset, loaded: Loaded, length: int) -> dict[str, Any]:
        spec = _spec(loaded)
        return profile_pictures(dataset, spec.height, spec.width)

    def load(self, source: Source, labels: Sequence[str], *, pooling: str, dropout: float) -> Loaded:
        return load_vision(source, labels)

    def merged(self, folder: Path) -> Loaded:
        return load_merged_vision(folder)

    def learning(self, loaded: Loaded) -> Learning:
        return ForImages(_spec(loaded), self.name)

    def rows(self, loaded: Loaded, split: Split, length: int, *, training: bool = False) -> TrainRows:
        return ImageRows(_spec(loaded), split, training=training)

    def card(self, dataset: Dataset, config: Config) -> dict[str, Any]:
        return {}

    def inputs(self, names: Sequence[str], loaded: Loaded, card: dict[str, Any]) -> Inputs:
        spec = _spec(loaded)
        if tuple(names) != spec.names:
            raise InputError(f"the graph takes {', '.join(names)}; of images it must be {spec.name} alone")
        return spec

    def batches(self, inputs: Inputs, loaded: Loaded, length: int, seed: int) -> list[Batch]:
        spec = _spec(loaded)
        return random_images(spec.name, spec.shape, seed=seed)

    def served(self, split: Split) -> Sequence[Row]:
        return Files(split.images)

    def detail(
        self, split: Split, labels: Sequence[str], rows: Sequence[Prepared], outputs: Sequence[Sequence[Output]]
    ) -> dict[str, Any]:
        return detail(self.name, labels, np.stack([own[0] for own in outputs]), split.labels)

    def example(self, split: Split, labels: Sequence[str], place: int, answer: Prediction) -> dict[str, Any]:
        picture = split.images[place]
        image = decode(picture.read(), picture.named)
        image.thumbnail((THUMBNAIL, THUMBNAIL))
        return {
            "text": picture.named,
            "image": base64.b64encode(encode_png(image)).decode(),
            "label": answer.label,
            "score": answer.score,
            "truth": labels[int(split.labels[place])],
        }


def _spec(loaded: Loaded) -> ImageSpec:
    reader = loaded.reader
    if not isinstance(reader, ImageReader):
        raise InputError(f"{type(loaded.model).__name__}: takes no images")
    return reader.spec


TASK = ImageClassification()
