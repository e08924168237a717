"""Draw the example's pictures: circles, squares and triangles of random size, place and colour.

python examples/pictures/draw.py [FOLDER]
"""

from __future__ import annotations

import math
import random
import sys
from pathlib import Path

from PIL import Image, ImageDraw

CORNERS = {"circle": 64, "square": 4, "triangle": 3}
COUNTS = {"train": 60, "test": 20}
SIZE = 96


def draw(corners: int, dice: random.Random) -> Image.Image:
    """A regular polygon on a background of another colour."""
    ground, ink = (tuple(dice.randrange(low, low + 110) for _ in range(3)) for low in dice.sample((20, 140), 2))
    image = Image.new("RGB", (SIZE, SIZE), ground)
    radius, turn = dice.uniform(15, 32), dice.uniform(0, 2 * math.pi)
    x, y = (dice.uniform(radius + 2, SIZE - radius - 2) for _ in range(2))
    angles = [turn + 2 * math.pi * corner / corners for corner in range(corners)]
    points = [(x + radius * math.cos(angle), y + radius * math.sin(angle)) for angle in angles]
    ImageDraw.Draw(image).polygon(points, fill=ink)
    return image


def write(folder: Path, counts: dict[str, int] = COUNTS) -> None:
    """All splits, the same pictures each time."""
    dice = random.Random(0)  # noqa: S311 (pictures, not secrets)
    for split, count in counts.items():
        for label, corners in CORNERS.items():
            place = folder / split / label
            place.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                draw(corners, dice).save(place / f"{number:03}.png")


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "drawn")
