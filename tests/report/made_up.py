"""A believable report with made-up numbers, for tests of the page."""

from __future__ import annotations

import math
import random
from typing import Any

KINDS = (
    ("attention.self.query", (384, 384)),
    ("attention.self.key", (384, 384)),
    ("attention.self.value", (384, 384)),
    ("attention.output.dense", (384, 384)),
    ("intermediate.dense", (1536, 384)),
    ("output.dense", (384, 1536)),
)


def layer(block: int, kind: str, shape: tuple[int, int], rank: int, dice: random.Random) -> dict[str, Any]:
    full = min(shape)
    index = [round(i * (full - 1) / 63) for i in range(64)]
    scale = dice.uniform(0.01, 0.07)
    moved = [abs(dice.gauss(0, scale)) for i in index if i < rank]
    return {
        "name": f"encoder.layer.{block}.{kind}",
        "shape": list(shape),
        "rank": rank,
        "energy": 1.0 if rank == full else 0.873,
        "effective_rank": 210.3,
        "spectrum": [6.5 * math.exp(-2.6 * i / full) for i in index],
        "index": index,
        "moved": moved,
        "delta_rms": scale,
        "delta_max": max(moved),
        "top": [{"index": 3, "was": 5.1, "became": 5.1 + 3 * scale}],
    }


def split(labels: list[str], rows: int, source: str) -> dict[str, Any]:
    tokens = {"min": 5, "median": 14, "p95": 34, "max": 171, "truncated": 7, "truncated_share": 0.0123}
    spread = {"edges": [0.5 * i for i in range(11)], "counts": list(range(1, 11))}
    numbers = {"min": 0.0, "mean": 2.6, "max": 5.0, "whole": False, "histogram": spread}
    return {
        "source": source,
        "sha256": "ab12" * 16,
        "rows": rows,
        "tokens": tokens,
        "empty_texts": {"count": 0, "first": []},
        **({"classes": {label: rows // len(labels) for label in labels}} if labels else {"numbers": numbers}),
    }


def report(labels: list[str] | None = None, *, blocks: int = 6, rank: int = 384) -> dict[str, Any]:
    """`labels` empty is a regression; the confusion matrix puts 2 rows of each class to the next one."""
    labels = ["hvac", "electrical", "plumbing"] if labels is None else labels
    dice = random.Random(0)  # noqa: S311
    layers = [layer(b, kind, shape, rank, dice) for b in range(blocks) for kind, shape in KINDS]
    n = len(labels)
    confusion = [[37 if i == j else 2 * (j == (i + 1) % n) for j in range(n)] for i in range(n)]
    classes = [
        {"label": label, "precision": 0.9, "recall": 0.95, "f1": 0.999 - i / (2 * n), "support": 39}
        for i, label in enumerate(labels)
    ]
    result = {"accuracy": 0.9263, "macro_f1": 0.9151, "matthews": 0.9047}
    if not labels:
        result = {"pearson": 0.8712, "spearman": 0.8634, "mse": 0.553, "mae": 0.574}
    test = {**result, "per_class": classes, "confusion": confusion} if labels else result
    lead = next(iter(result))
    latency = {"batch": 1, "tokens": 32, "threads": 2, "throughput_batch": 32}
    return {
        "format": "svfit-report",
        "format_version": 1,
        "name": "tickets",
        "created": {"at": "2026-11-24T05:39:59Z", "svfit": "0.1.0", "versions": {"torch": "2.13.0"}},
        "task": "text-classification" if labels else "text-regression",
        "labels": labels,
        "base": {"name": "pypi:gt-all", "sha256": "53aa", "architecture": "BertModel", "parameters": 22713216},
        "data": {
            "task": "text-classification",
            "labels": labels,
            "max_length": 128,
            "splits": {"train": split(labels, 9003, "train.csv"), "test": split(labels, 3080, "test.csv")},
            "duplicates": {
                "rows": 3,
                "texts": 3,
                "conflicting": 1,
                "examples": [{"text": ["stuck lift"], "labels": ["lifts", "doors"], "lines": [17, 332]}],
            },
            "overlap": {"train_test": 2},
            "warnings": ["2 rows of test have texts that are in train too."],
        },
        "adapter": {"rank": "full", "basis_id": "9f" * 32, "values": 13824, "layers": layers},
        "trainable": {"adapter": 13824, "head": 29645, "lora_r8": 331776, "full": 10616832},
        "training": {
            "curve": [
                {"step": s, "epoch": s / 313, "seconds": s / 5, "loss": 2.5 * math.exp(-s / 200), "lr": 0.03 / s}
                for s in range(1, 940, 2)
            ],
            "validation": [{"epoch": e, "step": 313 * e, "loss": 0.9 / e, lead: 0.8 + 0.04 * e} for e in (1, 2, 3)],
            "seconds": 197.4,
            "seconds_per_step": 0.2102,
            "steps": 939,
            "peak_memory_bytes": 1310000000,
            "device": "cpu",
            "precision": "fp32",
            "best": {"epoch": 3, "metric": f"eval_{lead}", "value": 0.92},
            "basis": {"seconds": 2.31, "cached": True},
        },
        "metrics": {"validation": result, "test": test},
        "gates": [
            {"name": "parity", "value": 2.2e-6, "limit": 1e-4, "passed": True, "detail": "logits"},
            {"name": "int8 drop", "value": 0.0021, "limit": 0.005, "passed": True, "detail": ""},
        ],
        "variants": [
            {
                "name": "fp32",
                "default": False,
                "precision": "fp32",
                "bytes": 90871320,
                "metrics": {"test": result},
                "parity": {"max_abs": 2.2e-6, "shapes": 8},
                "latency": {**latency, "p50_ms": 7.93, "p99_ms": 9.81, "throughput": 231.7},
                "kept_fp32": [],
            },
            {
                "name": "int8",
                "default": True,
                "precision": "int8",
                "bytes": 23012440,
                "metrics": {"test": {**result, lead: result[lead] - 0.0016}},
                "parity": {"max_abs": 0.413, "shapes": 8},
                "latency": {**latency, "p50_ms": 3.12, "p99_ms": 4.05, "throughput": 512.3},
                "kept_fp32": ["encoder.layer.5.output.dense"],
            },
        ],
        "machine": {"cpu": "Xeon", "isa": ["avx2"], "cores": 2, "memory_bytes": 16800000000, "os": "Linux"},
        "seconds": {"finetune": 203.1, "merge": 1.2},
        "swap": {
            "directions": 5120,
            "price": {"budget": 1.25, "batch_1": 1.214, "batch_16": 1.231},
            "split": "test",
            "tasks": [
                {
                    "name": "support",
                    "metric": "accuracy",
                    "kept_share": 0.71,
                    "merged": 0.9,
                    "served": 0.89,
                    "int8": 0.88,
                },
                {
                    "name": "<returns>",
                    "metric": "accuracy",
                    "kept_share": 0.69,
                    "merged": 0.8,
                    "served": 0.81,
                    "int8": None,
                },
            ],
        },
        "samples": [{"text": "the pump is leaking", "label": (labels or [""])[0], "score": 0.934}],
        "config": {"train": {"epochs": 3, "seed": 0}},
    }
