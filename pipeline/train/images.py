"""Images as a model takes them, and learning a class for each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from pipeline.data.dataset import Split
from pipeline.train.augment import varied
from pipeline.train.loss import losses
from pipeline.train.metrics import score
from serve.images.decode import decode
from serve.images.pixels import fitted, normalized
from serve.images.spec import ImageSpec

if TYPE_CHECKING:
    from PIL.Image import Image

KEPT_BYTES = 2**29
ROOM = 2
"""An image that is varied is kept at this many times the size that it is resized to, at most."""


class ImageRows(Dataset[dict[str, Any]]):
    """A split's images with their labels, varied where `training`, in the ways that the split names.

    Decoded images are kept, resized and 8-bit, as long as they fit into `KEPT_BYTES`; the others are read again.
    """

    def __init__(self, spec: ImageSpec, split: Split, *, training: bool = False) -> None:
        self.spec = spec
        self.pictures = split.images
        self.labels: list[Any] = list(split.labels)
        self.ways = split.augment if training else ()
        self._kept: dict[int, Image] = {}
        self._room = KEPT_BYTES

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> dict[str, Any]:
        image, named = self._image(index), self.pictures[index].named
        image = fitted(varied(image, self.ways), self.spec, named) if self.ways else image
        return {self.spec.name: normalized(image, self.spec), "labels": self.labels[index]}

    def length(self, index: int) -> int:
        """1: all are alike."""
        return 1

    def _image(self, index: int) -> Image:
        """Fitted; or, to be varied, as it is but for its size."""
        if index in self._kept:
            return self._kept[index]
        picture = self.pictures[index]
        image = decode(picture.read(), picture.named)
        if not self.ways:
            image = fitted(image, self.spec, picture.named)
        elif self.spec.resize != "none":
            most = ROOM * max(*self.spec.size, self.spec.height, self.spec.width)
            if max(image.size) > most:
                image.thumbnail((most, most))
        size = image.width * image.height * len(image.getbands())
        if size <= self._room:
            self._kept[index] = image
            self._room -= size
        return image


class ForImages:
    """Learning a class for each image, by a model with `logits`."""

    output = "logits"
    by_length = False

    def __init__(self, spec: ImageSpec, task: str) -> None:
        self._name, self._task = spec.name, task

    def collate(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        pixels = torch.from_numpy(np.stack([row[self._name] for row in rows]))
        return {self._name: pixels, "labels": torch.tensor([row["labels"] for row in rows], dtype=torch.int64)}

    def losses(
        self, answer: Any, labels: torch.Tensor, *, weight: torch.Tensor | None = None, smoothing: float = 0.0
    ) -> torch.Tensor:
        return losses(answer.logits, labels, weight=weight, smoothing=smoothing)

    def score(self, outputs: NDArray[Any], labels: NDArray[Any]) -> dict[str, float]:
        return score(self._task, outputs, labels)
