"""An update from beginning to end: read, measure, learn, measure again, and write it or refuse it."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from rich.console import Console

from pipeline.data.wording import listed
from pipeline.stages.quiet import quiet_libraries
from pipeline.update.head import with_labels
from pipeline.update.learn import Opened, learn, metric_of, opened, plan_of
from pipeline.update.measure import WARN, Meter, most_forgotten
from pipeline.update.parent import Parent, read_parent
from pipeline.update.place import place_for
from pipeline.update.rows import UpdateRows, joined, read_rows
from pipeline.update.wish import Wish
from pipeline.update.write import Made, write_adapter, write_run
from serve.errors import UsageError


def update(wish: Wish, console: Console) -> dict[str, Any]:
    """A new version of the adapter that `wish` names, in a new folder; gives what update.json holds, and where.

    Where the old validation rows lost more than `wish.max_forget`, nothing is written: then `refused` says why, else
    it is None. Raises `UsageError` and `InputError` before any training where something can't be used.
    """
    began = time.perf_counter()
    with quiet_libraries():
        parent = read_parent(wish, console)
        out = place_for(parent, wish)
        seed = parent.context.config.train.seed if wish.seed is None else wish.seed
        rows = read_rows(parent, wish, seed)
        if rows.old is None and wish.max_forget is not None:
            raise UsageError("--max-forget needs old validation rows to measure on: --validation FILE")
        _tell(parent, rows, console)
        if parent.context.config.train.threads:
            torch.set_num_threads(parent.context.config.train.threads)
        now = opened(parent, with_labels(parent.context, parent.adapter, rows.labels, seed))
        if now.dropped > 0.01:
            console.print(
                f"! {100 * now.dropped:.1f} % of what it had learned lies on directions that "
                f"{parent.context.config.adapter.onto} doesn't carry, and is left out",
                markup=False,
                soft_wrap=True,
            )
        made, document = _learned(parent, now, rows, wish, seed, console)
        document["refused"] = _refusal(document, wish)
        if document["refused"] is None:
            write = write_adapter if parent.run is None else write_run
            document |= write(parent, now, rows, made, document, out)
    return document | {"total_seconds": round(time.perf_counter() - began, 3)}


def _learned(
    parent: Parent, now: Opened, rows: UpdateRows, wish: Wish, seed: int, console: Console
) -> tuple[Made, dict[str, Any]]:
    metric = metric_of(parent)
    meter = Meter(now.loaded.model, now.loaded.tokenizer, parent.task, parent.adapter.card["max_length"], metric)
    known = [rows.labels.index(label) for label in parent.labels] if rows.labels else None
    splits = {"old": rows.old, "new": rows.held_out}
    console.print(f"measuring {parent.folder}", markup=False)
    before = {name: meter.logits(split, known) for name, split in splits.items() if split is not None}
    how = plan_of(parent, rows, wish, seed)
    found, unit = learn(parent, now, rows, how)
    console.print("measuring again")
    after = {name: meter.logits(split) for name, split in splits.items() if split is not None}
    metrics: dict[str, Any] = {}
    for name, split in splits.items():
        if split is not None:
            scores = (meter.score(before[name], split), meter.score(after[name], split))
            metrics[name] = {"rows": len(split.labels), "before": scores[0], "after": scores[1]}
    old = metrics.get("old")
    forgotten = None if old is None else meter.points_lost(old["before"], old["after"])
    worst = []
    if rows.old is not None and rows.labels:
        worst = most_forgotten(rows.old, rows.labels, before["old"], after["old"])
    measured, logits = rows.held_out, after["new"]
    if rows.dataset is not None:  # the new run's validation rows: those that the run had, and those held out now
        own = rows.dataset.validation
        own_logits = after["old"] if rows.old is own else meter.logits(own)
        measured, logits = joined("validation", own, measured), np.concatenate([own_logits, logits])
    made = Made(found, unit, meter.score(logits, measured))
    return made, {
        "parent": {"folder": str(parent.folder), **parent.chain[-1]},
        "version": parent.version + 1,
        "basis_id": parent.adapter.basis.id,
        "labels": {"count": len(rows.labels), "new": list(rows.added)},
        "rows": {
            "source": rows.learned.source,
            "sha256": rows.learned.sha256,
            "learned": len(rows.learned.labels),
            "held_out": len(rows.held_out.labels),
            "replayed": 0 if rows.replay is None else len(rows.replay.labels),
            "known_already": rows.known_already,
        },
        "metric": metric,
        "metrics": metrics,
        "forgotten": forgotten,
        "max_forget": wish.max_forget,
        "most_forgotten": worst,
        "plan": {
            "epochs": how.epochs,
            "steps": how.max_steps,
            "batch_size": how.batch_size,
            "learning_rate": how.learning_rate,
            "head_learning_rate": how.head_learning_rate,
            "seed": how.seed,
        },
        "seconds": found.record["seconds"],
    }


def _tell(parent: Parent, rows: UpdateRows, console: Console) -> None:
    """What the person should know before anything is trained."""
    said = []
    if rows.added:
        many = f"{len(rows.added)} new {'label' if len(rows.added) == 1 else 'labels'}"
        said.append(f"{many}: {listed(rows.added)}; the head grows from {len(parent.labels)} to {len(rows.labels)}")
    spelled = {label.casefold(): label for label in parent.labels}
    for label in rows.added:
        if label.casefold() in spelled:
            said.append(
                f"the new label {label} is the known {spelled[label.casefold()]} spelled otherwise; on purpose?"
            )
    if rows.known_already:
        said.append(f"{rows.known_already} of the new rows are among the old validation or test rows: left out")
    if rows.old is None:
        own = parent.folder.resolve().parent
        run = f"name its run, {own}, or " if parent.run is None and (own / "config.json").is_file() else ""
        said.append(f"what it forgets isn't measured: {run}name old validation rows with --validation FILE")
    if rows.replay is None:
        said.append("no old rows are mixed in; with --replay it keeps more of what it knew")
    for line in said:
        console.print(f"! {line}", markup=False, soft_wrap=True)


def _refusal(document: dict[str, Any], wish: Wish) -> str | None:
    forgotten = document["forgotten"]
    if forgotten is None or wish.max_forget is None or forgotten <= wish.max_forget:
        return None
    old, metric = document["metrics"]["old"], document["metric"]
    return (
        f"{metric} on the {old['rows']} old validation rows fell from {old['before'][metric]:.4f} to "
        f"{old['after'][metric]:.4f}, {forgotten:.2f} points; --max-forget allows {wish.max_forget:g}. Nothing was "
        "written; try more old rows (--replay), fewer --epochs, or a lower --learning-rate"
    )


def warning(document: dict[str, Any]) -> str | None:
    """What a person should hear of forgetting that was allowed."""
    forgotten = document["forgotten"]
    if document["refused"] is not None or forgotten is None or forgotten <= WARN:
        return None
    return (
        f"it forgot {forgotten:.2f} points of {document['metric']} on the old validation rows; "
        "mix in more old rows (--replay), or set a limit (--max-forget)"
    )
