"""What an image classifier's data looks like, and what about it should make a person pause."""

from __future__ import annotations

from dataclasses import replace
from statistics import median
from typing import Any

from pipeline.data.dataset import Dataset, Split
from pipeline.data.profiling import profile


def profile_pictures(dataset: Dataset, height: int, width: int) -> dict[str, Any]:
    """Describe a dataset of images as JSON-able values, for a model that takes `height` × `width` pixels.

    As `profiling.profile` does, two images being the same where their files are; in place of lengths in tokens a split
    has `pixels`: least, median and most of `width` and `height`, and how many images are `smaller` than the model's
    input along an edge.
    """
    named = {picture.sha256: picture.named for split in dataset.splits() for picture in reversed(split.images)}
    keyed = replace(dataset, **{split.name: _keyed(split) for split in dataset.splits()})  # type: ignore[arg-type]
    found = profile(keyed, lambda texts: [1] * len(texts), 1)
    for split in dataset.splits():
        own = found["splits"][split.name]
        del own["tokens"], own["empty_texts"]
        own["pixels"] = _pixels(split, height, width)
    for example in found["duplicates"]["examples"]:
        example["text"] = [named[key] for key in example["text"]]
    found["max_length"] = None
    found["warnings"] = [*map(_of_images, found["warnings"]), *_small(found, height, width)]
    return found


def _keyed(split: Split) -> Split:
    return replace(split, texts=[(picture.sha256,) for picture in split.images])


def _pixels(split: Split, height: int, width: int) -> dict[str, Any]:
    sides = {
        "width": [picture.width for picture in split.images],
        "height": [picture.height for picture in split.images],
    }
    small = sum(picture.height < height or picture.width < width for picture in split.images)
    told = {side: {"min": min(all_), "median": median(all_), "max": max(all_)} for side, all_ in sides.items()}
    return {**told, "smaller": small}


def _of_images(sentence: str) -> str:
    """A sentence on texts, of images."""
    for text, image in (("an empty text", "no image"), ("texts", "images"), ("text", "image")):
        sentence = sentence.replace(text, image)
    return sentence.replace("a image", "an image")


def _small(found: dict[str, Any], height: int, width: int) -> list[str]:
    rows = found["splits"]["train"]["rows"]
    small = found["splits"]["train"]["pixels"]["smaller"]
    if small <= rows / 2:
        return []
    return [f"{small / rows:.0%} of train is smaller than the {width} × {height} pixels that the model takes."]
