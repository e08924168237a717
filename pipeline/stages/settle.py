"""Settling: an adapter that lost directions to a graph's budget trains on for a little with those that are left."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping, Sequence

import torch

from export.adapter import Adapter
from pipeline.data import Split
from pipeline.stages.context import Context
from pipeline.stages.finetune import plan
from pipeline.stages.unfolded import NAME, with_adapter
from pipeline.train.fit import fit
from pipeline.train.metrics import headline
from pipeline.train.rows import Rows
from pipeline.train.scale import Scale, output_layer

RATE = 1 / 3  # of the rates that the adapter was trained with: it is near its goal, and the schedule starts anew


def settle(context: Context, adapter: Adapter, kept: Mapping[str, Sequence[int]], epochs: int) -> Adapter:
    """The adapter with zeros off `kept`, after `epochs` passes over its training rows (0: only cut).

    It learns at a third of its rates, on a schedule of its own. The card's `settled` says so.
    """
    config, card = context.config, dict(adapter.card)
    card["settled"] = {"epochs": epochs, "directions": sum(len(places) for places in kept.values())}
    loaded, svfit = with_adapter(context, adapter)
    svfit.restrict(NAME, kept)
    if not epochs:
        return svfit.export(NAME, card)
    if config.train.threads:
        torch.set_num_threads(config.train.threads)
    task = card["task"]
    last = output_layer(svfit.model, svfit.whole) if task == "text-regression" else None
    scale = Scale.of(context.dataset.train.labels) if last is not None else None
    if scale is not None and last is not None:
        scale.take_from(last)

    def rows(split: Split) -> Rows:
        labels = split.labels if scale is None else scale.apply(split.labels)
        return Rows(loaded.tokenizer, split.texts, labels, card["max_length"])

    slower = dataclasses.replace(
        plan(context, headline(task, config.train.metric)),
        epochs=epochs,
        learning_rate=config.train.learning_rate * RATE,
        head_learning_rate=config.train.head_learning_rate * RATE,
        checkpoint=False,
        early_stopping=0,
        max_steps=0,
    )
    folder = context.folder / ".settling"
    try:
        fit(
            svfit,
            loaded.tokenizer,
            rows(context.dataset.train),
            rows(context.dataset.validation),
            task=task,
            plan=slower,
            folder=folder,
            console=context.console,
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if scale is not None and last is not None:
        scale.put_into(last)
    return svfit.export(NAME, card)
