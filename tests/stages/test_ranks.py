"""What a budget buys by default, what is computed and measured for it, and what is told meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import nn

from export.core import DIAGONAL, Core
from pipeline.config import AdapterSection, TrainSection
from pipeline.model.load import Loaded
from pipeline.stages.ranks import choose, default_budget, drop
from pipeline.svf import wrap
from pipeline.train.fit import Fit
from pipeline.train.learning import ForTexts
from pipeline.train.rows import Rows


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SVFIT_CACHE", str(tmp_path))


def adapter(**keys: Any) -> AdapterSection:
    return AdapterSection.model_validate({"rank": "auto", **keys})


def loaded(model: nn.Module) -> Loaded:
    return cast("Loaded", SimpleNamespace(model=model))


def learning(tokenizer: Any) -> ForTexts:
    return ForTexts(tokenizer, "text-classification")


def rows(tokenizer: Any) -> Rows:
    return Rows(tokenizer, [("fan noise",), ("hot line",), ("cold door",)], [0, 1, 2], 8)


def test_the_default_budget_is_a_sixteenth_of_lora_s_and_leaves_a_choice_among_scaled_directions() -> None:
    wide = [(384, 384), (1536, 384)]
    sixteenth = 8 * (2 * 384 + 1536 + 384) // 16
    assert default_budget(wide, Core("dense")) == default_budget(wide, Core("banded", 1)) == sixteenth
    assert default_budget(wide, DIAGONAL) == (384 + 384) // 2 < sixteenth
    assert default_budget([(64, 4096)] * 2, DIAGONAL) == 64
    assert default_budget([(1, 1)], DIAGONAL) == 1


def test_the_chosen_basis_is_the_one_that_its_directions_give(tiny_model: Callable[..., Any], tokenizer: Any) -> None:
    model = tiny_model("bert")
    train = TrainSection.model_validate({"batch_size": 2, "device": "cpu"})
    _, found = choose(loaded(model), ["classifier"], adapter(budget=20), train, learning(tokenizer), rows(tokenizer))
    directions = {name: layer.places for name, layer in found.basis.layers.items()}
    assert sum(map(len, directions.values())) == 20
    assert wrap(model, directions=directions).basis == found.basis


def test_scoring_tells_how_far_it_is(tiny_model: Callable[..., Any], tokenizer: Any) -> None:
    steps: list[tuple[int, int]] = []
    choose(
        loaded(tiny_model("bert")),
        ["classifier"],
        adapter(budget=20),
        TrainSection.model_validate({"batch_size": 2, "device": "cpu"}),
        learning(tokenizer),
        rows(tokenizer),
        None,
        lambda done, total, _: steps.append((done, total)),
    )
    assert steps == [(step + 1, 8) for step in range(8)]  # two batches, three times for the head and once for scores


@pytest.mark.parametrize(("before", "measured"), [({"accuracy": 0.5}, 1), ({}, 2)])
def test_what_the_best_epoch_was_is_not_measured_again(
    tiny_model: Callable[..., Any], before: dict[str, float], measured: int
) -> None:
    svfit = wrap(tiny_model("bert"), rank=2)
    svfit.add("a")
    with torch.no_grad():
        next(iter(svfit.layers.values())).delta["a"][0] = 1.0
    calls: list[Any] = []

    def predict(rows: Any, metric_key_prefix: str) -> Any:
        calls.append(rows)
        return SimpleNamespace(metrics={f"{metric_key_prefix}_accuracy": 0.25, f"{metric_key_prefix}_runtime": 9.0})

    result = cast("Fit", SimpleNamespace(trainer=SimpleNamespace(predict=predict)))
    dropped = drop(svfit, "a", 0.9, result, cast("Rows", ()), before)
    assert dropped["before"] == (before or {"accuracy": 0.25})
    assert dropped["after"] == {"accuracy": 0.25}
    assert (len(calls), dropped["kept"]) == (measured, 1)
