"""Training that goes on: the adapter's own basis, its values and head as they were left, and gentler rates."""

from __future__ import annotations

import dataclasses
import math
import tempfile
from dataclasses import dataclass
from pathlib import Path

from export.adapter import Adapter
from pipeline.data import Split
from pipeline.model.load import Loaded
from pipeline.stages.finetune import plan
from pipeline.stages.onto import Onto, read_onto
from pipeline.stages.unfolded import NAME, with_adapter
from pipeline.svf import SVFit
from pipeline.tasks.words import headline
from pipeline.train.fit import Fit, fit
from pipeline.train.learning import ForTexts
from pipeline.train.plan import AGAIN, Plan
from pipeline.train.rows import Rows
from pipeline.train.scale import Scale, output_layer
from pipeline.update.parent import Parent
from pipeline.update.rows import UpdateRows
from pipeline.update.wish import Wish
from serve.errors import InputError

EPOCHS = 3


@dataclass(frozen=True)
class Opened:
    """An adapter on its base model, ready to go on. `onto` is the bundle whose directions alone may move, if any."""

    loaded: Loaded
    svfit: SVFit
    onto: Onto | None
    dropped: float
    """Share of what the adapter had learned (of the squares of its values) that `onto` doesn't carry."""


def opened(parent: Parent, adapter: Adapter) -> Opened:
    """Raises `InputError` where neither the cache nor the bundle has the adapter's basis."""
    onto = read_onto(parent.context)
    if onto is not None and onto.basis.id != adapter.basis.id:
        raise InputError(
            f"{parent.folder}: trained on basis {adapter.basis.id[:12]}, but "
            f"{parent.context.config.adapter.onto} has basis {onto.basis.id[:12]}; name the bundle it was made for"
        )
    loaded, svfit = with_adapter(parent.context, adapter)
    dropped = 0.0
    if onto is not None:
        before = _squares(adapter)
        svfit.restrict(NAME, onto.kept)
        dropped = 1 - _squares(svfit.export(NAME)) / before if before else 0.0
    return Opened(loaded, svfit, onto, dropped)


def metric_of(parent: Parent) -> str:
    """The run's, where it is one that rows give; else that of the task."""
    chosen = headline(parent.task, parent.context.config.train.metric)
    return headline(parent.task) if chosen == "loss" else chosen


def plan_of(parent: Parent, rows: UpdateRows, wish: Wish, seed: int) -> Plan:
    """The run's plan, gentler, for a fixed number of steps: nothing is chosen on the rows that are held out."""
    known = plan(parent.context, metric_of(parent))
    epochs = wish.epochs or EPOCHS
    steps = math.ceil(len(rows.train.labels) / (known.batch_size * known.gradient_accumulation))
    return dataclasses.replace(
        known,
        epochs=epochs,
        seed=seed,
        learning_rate=wish.learning_rate or known.learning_rate * AGAIN,
        head_learning_rate=wish.head_learning_rate or known.head_learning_rate * AGAIN,
        max_steps=epochs * steps,
        early_stopping=0,
        checkpoint=False,
    )


def learn(parent: Parent, now: Opened, rows: UpdateRows, how: Plan) -> tuple[Fit, float]:
    """Train in place; gives the record, and the unit of the answers (1 for classes)."""
    card = parent.adapter.card
    last = output_layer(now.svfit.model, now.svfit.whole) if parent.task == "text-regression" else None
    known = rows.train.labels if rows.dataset is None else rows.dataset.train.labels
    scale = Scale.of(known) if last is not None else None
    if scale is not None and last is not None:
        scale.take_from(last)

    def tokenized(split: Split) -> Rows:
        labels = split.labels if scale is None else scale.apply(split.labels)
        return Rows(now.loaded.tokenizer, split.texts, labels, card["max_length"])

    with tempfile.TemporaryDirectory(prefix="svfit-update-") as folder:
        found = fit(
            now.svfit,
            ForTexts(now.loaded.tokenizer, parent.task),
            tokenized(rows.train),
            tokenized(rows.held_out),
            plan=how,
            folder=Path(folder),
            console=parent.context.console,
        )
    if scale is not None and last is not None:
        scale.put_into(last)
    unit = float(card.get("unit", 1.0))
    return found, unit if scale is None else max(unit, abs(scale.mean) + scale.deviation)


def _squares(adapter: Adapter) -> float:
    return sum(float(values.double().square().sum()) for values in adapter.delta.values())
