"""What the fixture `bert` gives: a tiny BERT beside its exported graph."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.graph import GraphInfo
from export.parity import Batch


@dataclass(frozen=True)
class Exported:
    """A tiny BERT, its ONNX file, and batches that both take."""

    model: Any
    path: Path
    info: GraphInfo
    batches: list[Batch]
