"""Settling: an adapter that lost directions to a graph's budget learns with those left to answer as it did with all."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping, Sequence

import torch

from export.adapter import Adapter
from pipeline.data import Split
from pipeline.stages.context import Context
from pipeline.stages.evaluate import Evaluation
from pipeline.stages.export import GRAPH, input_spec
from pipeline.stages.finetune import plan
from pipeline.stages.unfolded import NAME, with_adapter
from pipeline.train.fit import fit
from pipeline.train.imitation import Imitation, PieceRows
from pipeline.train.plan import AGAIN
from pipeline.train.scale import Scale, output_layer


def settle(context: Context, adapter: Adapter, kept: Mapping[str, Sequence[int]], epochs: int) -> Adapter:
    """The adapter with zeros off `kept`, after `epochs` passes over its training rows (0: only cut).

    What it learns are the logits of its own merged graph at full rank (`export/model.onnx`), by their mean squared
    difference (logit matching: Ba and Caruana, arXiv 1312.6184): so it keeps its answers also where labels would pull
    it on, as they do on rows that belong to no class. Without dropout, as those logits were computed without it; at a
    third of its rates, on a schedule of its own. The card's `settled` says so.
    """
    config, card = context.config, dict(adapter.card)
    card["settled"] = {"epochs": epochs, "directions": sum(len(places) for places in kept.values())}
    _, svfit = with_adapter(context, adapter)
    svfit.restrict(NAME, kept)
    if not epochs:
        return svfit.export(NAME, card)
    if config.train.threads:
        torch.set_num_threads(config.train.threads)
    for module in svfit.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    evaluation = Evaluation(context, input_spec(context))
    last = output_layer(svfit.model, svfit.whole) if card["task"] == "text-regression" else None
    scale = Scale.of(context.dataset.train.labels) if last is not None else None
    if scale is not None and last is not None:
        scale.take_from(last)

    def rows(split: Split) -> PieceRows:
        pieces, outputs = evaluation.imitated(context.path("export") / GRAPH, split)
        if scale is None:
            return PieceRows(pieces, outputs)
        return PieceRows(pieces, [(output - scale.mean) / scale.deviation for output in outputs])

    fast = plan(context, "loss")
    slower = dataclasses.replace(
        fast,
        epochs=epochs,
        learning_rate=fast.learning_rate * AGAIN,
        head_learning_rate=fast.head_learning_rate * AGAIN,
        checkpoint=False,
        early_stopping=0,
        max_steps=0,
        class_weights=False,
        label_smoothing=0.0,
    )
    folder = context.folder / ".settling"
    try:
        fit(
            svfit,
            Imitation(evaluation.encoder, evaluation.output.name),
            rows(context.dataset.train),
            rows(context.dataset.validation),
            plan=slower,
            folder=folder,
            console=context.console,
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if scale is not None and last is not None:
        scale.put_into(last)
    return svfit.export(NAME, card)
