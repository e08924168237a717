"""The parity gate: the ONNX graph answers as the PyTorch model does, at many shapes, padded and not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from serve.errors import GateError, InputError
from serve.session import load, session_options

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LIMIT = 1e-4
SHAPES = ((1, 4), (1, 16), (2, 512), (3, 9), (8, 32), (16, 24))  # batch × sequence; clipped to what the model takes
IMAGES = (1, 2, 5)  # images in a batch

Ids = npt.NDArray[np.int64]
Feeds = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class ParityRow:
    """One output at one shape. `max_abs` is the largest absolute difference; NaN where either side held one."""

    shape: tuple[int, ...]
    padded: bool
    output: str
    max_abs: float
    limit: float
    passed: bool


@dataclass(frozen=True, slots=True)
class Batch:
    """Inputs of one comparison: int64 (batch, sequence) each, or float32 (batch, channels, height, width)."""

    feeds: Feeds
    padded: bool


def check_parity(
    model: PreTrainedModel, graph: Path | Any, batches: Iterable[Batch], limit: float = LIMIT
) -> list[ParityRow]:
    """Run every batch through both and compare, output by output.

    `graph` is an ONNX file or an open `onnxruntime.InferenceSession`; `batches` come from `random_batches` or
    `random_images`.

    The limit is absolute, on float32 logits. Both sides add the same few hundred products in another order, so
    they differ by rounding alone: about 1e-7 of the values they sum, 1e-6 to 1e-5 for logits of a few units behind
    a dozen layers. 1e-4 is ten times that, and a thousand times below the 0.1 that a wrong mask, position or
    activation moves. A NaN on either side fails. Raises InputError where onnxruntime can't run the graph.
    """
    import torch

    session = load(graph, session_options()) if isinstance(graph, Path) else graph
    names = [entry.name for entry in session.get_outputs()]
    rows: list[ParityRow] = []
    for batch in batches:
        first = next(iter(batch.feeds.values()))
        shape = tuple(int(size) for size in first.shape)
        with torch.no_grad():
            answer = model(**{name: torch.from_numpy(value).to(model.device) for name, value in batch.feeds.items()})
        try:
            results = session.run(names, batch.feeds)
        except Exception as error:  # onnxruntime's errors share no base class
            reason = str(error).strip().splitlines()[0]
            raise InputError(f"the graph fails on a batch of {_told(shape)}: {reason}") from error
        for name, result in zip(names, results, strict=True):
            wanted = getattr(answer, name).float().cpu().numpy()
            largest = _largest(wanted, np.asarray(result))
            rows.append(ParityRow(shape, batch.padded, name, largest, limit, largest <= limit))
    return rows


def gate_parity(rows: Sequence[ParityRow]) -> None:
    """Raise GateError, naming each output, shape and difference, where a row failed or none were compared."""
    if not rows:
        raise GateError("parity: nothing was compared; give at least one batch")
    failed = [row for row in rows if not row.passed]
    if failed:
        told = "; ".join(
            f"{row.output} at {_told(row.shape)}{' padded' if row.padded else ''} differs by {row.max_abs:.3g}"
            for row in failed
        )
        raise GateError(
            f"parity: the ONNX graph and PyTorch differ by more than {failed[0].limit:g}: {told};"
            " try another version of torch or onnxruntime, or report the architecture"
        )


def summary(rows: Sequence[ParityRow]) -> dict[str, Any]:
    """What a manifest keeps: {"max_abs", "limit", "shapes" (count), "rows" (compared)}."""
    return {
        "max_abs": float(np.max([row.max_abs for row in rows])),
        "limit": rows[0].limit,
        "shapes": len({row.shape for row in rows}),
        "rows": len(rows),
    }


def random_batches(
    names: Sequence[str],
    *,
    vocabulary: int,
    pad_id: int,
    max_length: int,
    padding_side: str = "right",
    pad_type_id: int = 0,
    type_vocabulary: int = 1,
    shapes: Sequence[tuple[int, int]] = SHAPES,
    seed: int = 0,
) -> list[Batch]:
    """Batches for `check_parity`: each shape twice, full and padded.

    Token ids are uniform over the vocabulary without `pad_id` (decoders look for it to find a row's end); the
    second half of a row is of the second type where `type_vocabulary` allows. In a padded batch the first row
    keeps its whole length, the others a random shorter one; a batch of one is padded to half.
    `names` are the graph's inputs. Sequences are clipped to `max_length`.
    """
    generator = np.random.default_rng(seed)
    clipped = dict.fromkeys((batch, min(length, max_length)) for batch, length in shapes)
    return [
        Batch({name: feeds[name] for name in names}, padded)
        for batch, length in clipped
        for padded in (False, True)
        for feeds in [
            _feeds(generator, batch, length, padded, vocabulary, pad_id, padding_side, pad_type_id, type_vocabulary)
        ]
    ]


def random_images(
    name: str, shape: tuple[int, int, int], *, batches: Sequence[int] = IMAGES, seed: int = 0
) -> list[Batch]:
    """Batches for `check_parity` of an image model: `shape` is (channels, height, width).

    Each size twice: pixels of the normal distribution, and smooth ones, a plain colour for each image and channel.
    """
    generator = np.random.default_rng(seed)
    noise = [generator.standard_normal((size, *shape)).astype(np.float32) for size in batches]
    plain = [generator.standard_normal((size, shape[0], 1, 1)).astype(np.float32) for size in batches]
    flat = [np.ascontiguousarray(np.broadcast_to(value, (len(value), *shape))) for value in plain]
    return [Batch({name: value}, False) for value in (*noise, *flat)]


def _told(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape))


def _feeds(
    generator: np.random.Generator,
    batch: int,
    length: int,
    padded: bool,
    vocabulary: int,
    pad_id: int,
    side: str,
    pad_type_id: int,
    types: int,
) -> Feeds:
    ids = generator.integers(0, vocabulary - 1, size=(batch, length), dtype=np.int64)
    ids += ids >= pad_id  # skips pad_id, keeps the rest uniform
    kept = np.full(batch, length)
    if padded:
        kept = generator.integers(1, max(2, length), size=batch)
        kept[0] = length if batch > 1 else max(1, length // 2)
    place = np.arange(length)[None, :]
    mask = place < kept[:, None] if side == "right" else place >= length - kept[:, None]
    second = (place >= length // 2) & (types > 1) & mask
    return {
        "input_ids": np.where(mask, ids, pad_id),
        "attention_mask": mask.astype(np.int64),
        "token_type_ids": np.where(mask, second.astype(np.int64), pad_type_id),
    }


def _largest(wanted: npt.NDArray[np.float32], result: npt.NDArray[np.float32]) -> float:
    if wanted.shape != result.shape:
        raise GateError(f"parity: PyTorch answers {wanted.shape}, the ONNX graph {result.shape}")
    if not (np.isfinite(wanted).all() and np.isfinite(result).all()):
        return float("nan")
    return float(np.abs(wanted.astype(np.float64) - result.astype(np.float64)).max())
