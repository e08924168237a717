"""What every variant's writer shares: the limit of one file, and writing it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from export.graph import EMBED_LIMIT
from serve.errors import InputError
from serve.files import write_bytes

if TYPE_CHECKING:
    import onnx


def small_enough(model: onnx.ModelProto, name: str) -> None:
    """Raise InputError for more than 2 GB of weights, which the tools that make a variant can't hold."""
    size = sum(len(entry.raw_data) for entry in model.graph.initializer)
    if size > EMBED_LIMIT:
        raise InputError(
            f"{name}: the graph has {size / 1e9:.1f} GB of weights; up to 2 GB can be converted; keep fp32"
        )


def save(model: onnx.ModelProto, out: Path) -> int:
    """Write a model, weights inside, the same bytes each time; gives how many."""
    data = model.SerializeToString(deterministic=True)
    write_bytes(out, data)
    return len(data)
