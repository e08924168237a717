"""One variant of a graph, made and held to its gates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.int8 import layers
from export.quantize import hold
from export.sensitivity import Feeds, Progress
from export.variants.kinds import Kind, Writer, load
from export.variants.static import static_layers, static_writer
from serve.errors import InputError

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True, slots=True)
class Gate:
    """How a variant is judged: `score(file)` on validation rows against `baseline`, at most `max_drop` points lost;
    `difference(one, other)` is the largest absolute difference of two files' logits on the same rows."""

    score: Callable[[Path], float]
    baseline: float
    max_drop: float
    difference: Callable[[Path, Path], float]

    def drop(self, score: float) -> float:
        """Points lost."""
        return 100 * (self.baseline - score)

    def lost(self, drop: float) -> str:
        """Why a variant that loses so much isn't taken; nothing where it may."""
        return "" if drop <= self.max_drop + 1e-9 else f"loses {drop:.2f} points, {self.max_drop:g} allowed"


def convert(
    kind: Kind,
    fp32: Path,
    model: onnx.ModelProto,
    out: Path,
    gate: Gate,
    batches: Sequence[Feeds],
    calibration: Callable[[], Sequence[Feeds]],
    on_progress: Progress | None = None,
) -> dict[str, Any]:
    """Make `kind` from `model` (the graph in the file `fp32`); gives its record: what it loses and what stays in fp32.

    `batches` are some validation rows, to rank layers by; `calibration()` gives training rows, for int8-static.
    Raises InputError where the variant can't be made of this graph.
    """
    write: Writer = load(kind.writer) if kind.writer else static_writer(model, calibration())
    names = layers(model) if kind.writer else static_layers(model)
    made = hold(kind.name, model, write, names, out, gate.score, gate.baseline, batches, gate.max_drop, on_progress)
    return {
        "name": kind.name,
        "precision": kind.precision,
        "about": kind.about,
        "held": made.held,
        "why": gate.lost(made.drop),
        "drop": made.drop,
        "kept_fp32": made.kept_fp32,
        "tried": made.tried,
        "bytes": made.bytes,
        "parity": {"max_abs": gate.difference(fp32, out), "against": "fp32"},
    }


def reform(kind: Kind, source: dict[str, Any], file: Path, out: Path, gate: Gate, limit: float) -> dict[str, Any]:
    """Another form `kind` of the variant in `file`, whose record is `source`; gives its own.

    It must answer as its source does, to within `limit` (of a logit, absolute), and hold the gate. Raises InputError
    where the graph has no such form.
    """
    size = load(kind.writer)(file, out)
    moved, drop = gate.difference(file, out), gate.drop(gate.score(out))
    why = gate.lost(drop)
    if not moved <= limit:
        why = f"differs from {source['name']} by {moved:.3g}, {limit:.3g} allowed"
    return {
        "name": kind.name,
        "precision": source["precision"],
        "about": kind.about,
        "of": kind.of,
        "held": not why,
        "why": why,
        "drop": drop,
        "kept_fp32": source.get("kept_fp32", []),
        "tried": 1,
        "bytes": size,
        "parity": {"max_abs": moved, "limit": limit, "against": source["name"]},
    }


def impossible(kind: Kind, error: InputError) -> dict[str, Any]:
    """The record of a variant that this graph has no form of."""
    return {
        "name": kind.name,
        "precision": kind.precision,
        "about": kind.about,
        "held": False,
        "why": str(error),
    }
