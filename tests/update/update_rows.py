"""New rows for updates, and reading what an update left."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from tiny_task import PLAIN, write_csv


def document(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


def door_rows(count: int, label: str, seed: int = 9) -> list[tuple[str, str]]:
    """Rows of a third class: none of the words that tell the other two, and `door` twice."""
    rng = random.Random(seed)  # noqa: S311 (rows, not secrets)
    made = []
    for _ in range(count):
        words = [*rng.choices([word for word in PLAIN if word != "door"], k=3), "door", "door"]
        rng.shuffle(words)
        made.append((" ".join(words), label))
    return made


def new_rows(folder: Path, table: list[tuple[str, str]]) -> Path:
    path = folder / "new.csv"
    write_csv(path, ("text", "label"), table)
    return path
