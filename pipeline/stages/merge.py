"""Stage `merge`: the adapter folded into the base model's weights, checked against the unfolded model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from export.adapter import Adapter
from pipeline.stages.context import Context
from pipeline.stages.unfolded import NAME, with_adapter
from pipeline.train.learning import inputs_of
from serve.errors import GateError
from serve.files import write_json

LIMIT = 1e-5
"""Relative: the fold is computed in float64 and rounded once, so what remains is float32 summation order."""
SAMPLE = 16


def merge(context: Context, folder: Path) -> dict[str, Any]:
    """Writes the merged model in float32 as transformers saves one, its tokenizer, and merge.json.

    Raises `GateError` where merged and unmerged outputs differ by more than 1e-5 of the largest output.
    """
    adapter = Adapter.load(context.path("adapter"))
    card = adapter.card
    loaded, svfit = with_adapter(context, adapter)
    task = context.task
    rows = task.rows(loaded, context.dataset.validation.first(SAMPLE), card["max_length"])
    learning = task.learning(loaded)
    batch = inputs_of(learning, rows, range(len(rows)))
    with torch.no_grad():
        before = getattr(loaded.model(**batch), learning.output)
        svfit.fold(NAME)
        model = svfit.merged()
        after = getattr(model(**batch), learning.output)
    relative = float((after - before).abs().max() / before.abs().max().clamp(min=1e-12))
    if not relative <= LIMIT:
        raise GateError(
            f"merge: merged and unmerged outputs differ by {relative:.2e} of the largest; allowed {LIMIT:.0e}"
        )
    loaded.model.save_pretrained(folder)
    loaded.reader.save_pretrained(folder)
    result = {"max_relative": relative, "limit": LIMIT, "rows": len(rows)}
    write_json(folder / "merge.json", result)
    return {"max_relative": relative, "merged": str(context.path("merged"))}
