"""A variant with an accuracy gate: what it costs is measured; the most sensitive layers stay in fp32 until it holds."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from export.int8 import layers, write_int8
from export.sensitivity import Feeds, Progress, rank_layers
from export.variants.kinds import Writer
from serve.errors import InputError

if TYPE_CHECKING:
    import onnx

MAX_DROP = 0.5


@dataclass(frozen=True, slots=True)
class QuantizeResult:
    """What was kept and what it costs.

    `kept_fp32` names the layers left in float32, the most sensitive first. `drop` is in points: 100 × (baseline −
    score), negative where the variant scores better. `held` says whether the gate holds; if not, the file is the best
    that was tried. `tried` counts the graphs evaluated, `bytes` is the file's size.
    """

    kept_fp32: list[str]
    score: float
    drop: float
    held: bool
    tried: int
    bytes: int


def quantize_int8(
    fp32: Path,
    out: Path,
    evaluate: Callable[[Path], float],
    baseline: float,
    batches: Sequence[Feeds],
    max_drop: float = MAX_DROP,
    on_progress: Progress | None = None,
) -> QuantizeResult:
    """`hold` for the variant int8. Raises InputError for a graph without weights or unusable numbers."""
    import onnx

    model = onnx.load(str(fp32))
    return hold("int8", model, write_int8, layers(model), out, evaluate, baseline, batches, max_drop, on_progress)


def hold(
    name: str,
    model: onnx.ModelProto,
    write: Writer,
    names: Sequence[str],
    out: Path,
    evaluate: Callable[[Path], float],
    baseline: float,
    batches: Sequence[Feeds],
    max_drop: float = MAX_DROP,
    on_progress: Progress | None = None,
) -> QuantizeResult:
    """Convert `model` to `out` by `write` so that `evaluate(file)` loses at most `max_drop` points against `baseline`.

    `names` are the layers that can stay in float32. `evaluate` scores a file on the validation split as `baseline`
    was (accuracy or correlation, 0 to 1, higher is better). `batches` are graph inputs of some validation rows; they
    are run only where the variant fails the gate, to rank the layers. Then the 1, 2, 4, 8, ... most sensitive stay in
    float32, until the gate holds or all but everything is float32. `on_progress(what, done, total)` is told of each
    step. Raises InputError for unusable numbers, and what `write` raises where nothing is kept.
    """
    if not math.isfinite(baseline) or max_drop < 0:
        raise InputError(f"{name}: needs a finite baseline and max_drop >= 0 (got {baseline} and {max_drop})")
    count = len(names)
    out.parent.mkdir(parents=True, exist_ok=True)
    best: QuantizeResult | None = None
    ranked: list[str] = []
    tried = keep = 0
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as folder:
        file = Path(folder) / out.name
        while keep < max(count, 1):  # a graph without weights goes to the writer, which says so
            if on_progress is not None:
                on_progress(f"{name} with {keep} of {count} layers in fp32", keep, count)
            try:
                size = write(model, file, ranked[:keep])
            except InputError:
                if best is None:
                    raise
                break  # what is left is nothing that this variant changes
            score = evaluate(file)
            tried += 1
            drop = 100 * (baseline - score)
            # 1e-9: 0.90 - 0.895 is 0.5 points and a rounding error
            attempt = QuantizeResult(ranked[:keep], score, drop, drop <= max_drop + 1e-9, tried, size)
            if best is None or attempt.held or drop < best.drop or math.isnan(best.drop):
                best = attempt
                file.replace(out)
            if attempt.held:
                return attempt
            if not ranked:
                found = rank_layers(model, batches, on_progress, write=write, names=names)
                ranked = [layer.name for layer in found]
            keep = keep * 2 or 1
    assert best is not None  # noqa: S101 - the loop runs at least once
    return QuantizeResult(best.kept_fp32, best.score, best.drop, False, tried, best.bytes)
