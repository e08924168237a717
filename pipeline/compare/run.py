"""A whole comparison: from a configuration to the document and the page."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.pack import versions
from pipeline import __version__
from pipeline.compare.cell import Cell
from pipeline.compare.configured import configured_method
from pipeline.compare.engine import Engine, Run, Swept, Watcher
from pipeline.compare.gather import method_result
from pipeline.compare.ledger import Ledger
from pipeline.compare.lock import alone
from pipeline.compare.problem import ConfiguredProblem
from pipeline.compare.recommend import recommend
from pipeline.compare.result import Comparison, Price
from pipeline.compare.worker import in_own_process
from pipeline.methods import refuse_twins
from pipeline.stages.context import STAMPS
from pipeline.stages.finetune import plan as plan_of
from pipeline.stages.quiet import quiet_libraries
from pipeline.train.device import device_of
from pipeline.train.metrics import HIGHER_IS_BETTER
from serve.errors import UsageError
from serve.files import sha256_json, write_bytes, write_json
from serve.machine import describe

LAYERS_ONLY = ("targets", "head_modules")
"""Keys of [adapter] that every method heeds; the others are `svfit`'s own."""
NOT_DECIDING = ("learning_rate", "checkpoint")
"""Keys of [train] that don't change a cell: the rates are the cells' own."""
LIBRARIES = ("torch", "transformers", "peft")


@dataclass(frozen=True)
class Request:
    """What to compare, and on what."""

    problem: ConfiguredProblem
    methods: tuple[str, ...]
    seeds: int = 3
    rates: int = 3
    price: Price | None = None


def compare(
    request: Request,
    folder: Path,
    watcher: Callable[[int, str], Watcher],
    *,
    fresh: bool = False,
    run: Run = in_own_process,
) -> Comparison:
    """Train what isn't trained yet, write report.json and report.html into `folder`, and give the document.

    `watcher(cells, metric)` is made once the request is known to make sense. Raises `UsageError` for a request that
    makes no sense, `InputError` for rows or a base model that can't be read, `Conflict` where another comparison is at
    work in the folder.
    """
    if (folder / STAMPS).exists():
        raise UsageError(f"{folder} is a run's folder, whose report would be lost; name another one: --output DIR")
    with quiet_libraries():
        problem = request.problem
        metric, config = problem.metric, problem.context.config
        methods = [configured_method(name, problem) for name in request.methods]
        refuse_twins([(one.key, one.title) for one in methods])
        seeds = [config.train.seed + place for place in range(request.seeds)]
        engine = Engine(
            problem,
            dataclasses.replace(plan_of(problem.context, metric), checkpoint=False),
            Ledger(folder),
            _Fingerprints(problem),
            problem.context.dataset.test.sha256 if problem.context.dataset.test else None,
            run,
            watcher(len(methods) * (request.rates + request.seeds - 1), metric),
            config.train.threads,
        )
        with alone(folder):
            if fresh:
                engine.ledger.clear()
            swept = [engine.sweep(method, request.rates, seeds) for method in methods]
            document = gather(request, swept, seeds)
            write(document, folder)
    return document


def gather(request: Request, swept: Sequence[Swept], seeds: Sequence[int]) -> Comparison:
    """The document of what was trained."""
    context, metric = request.problem.context, request.problem.metric
    dataset = context.dataset
    higher = HIGHER_IS_BETTER[metric]
    methods = [method_result(one, metric, request.price) for one in swept]
    done = [record for one in swept for _, record in one.finished]
    layers = done[0]["layers"] if done else {"lora": 0, "full": 0}
    return {
        "kind": "comparison",
        "name": context.config.name,
        "created": {
            "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "svfit": __version__,
            "versions": versions(LIBRARIES),
        },
        "task": dataset.task,
        "metric": metric,
        "higher_is_better": higher,
        "data": {
            "rows": {split.name: len(split.labels) for split in dataset.splits()},
            "labels": list(dataset.labels),
        },
        "base": context.base,
        "machine": describe() | {"device": done[0]["device"] if done else None},
        "price": request.price,
        "seeds": list(seeds),
        "rates_tried": request.rates,
        "lora_values": layers["lora"],
        "full_values": layers["full"],
        "seconds": sum(one["sweep_seconds"] for one in methods),
        "config": context.config.resolved(),
        "methods": methods,
        "recommendation": recommend(
            methods,
            metric,
            higher_is_better=higher,
            rows=len(dataset.validation.labels),
            tested=dataset.test is not None,
        ),
    }


def write(document: Comparison, folder: Path) -> None:
    """report.json and report.html."""
    from pipeline.report.compare_page import render

    write_json(folder / "report.json", document)
    write_bytes(folder / "report.html", render(document).encode())


class _Fingerprints:
    """Of all that decides a cell's training: versions, device, base model, rows learned from and chosen by, keys."""

    def __init__(self, problem: ConfiguredProblem) -> None:
        context = problem.context
        dataset, config = context.dataset, context.config.resolved()
        self.adapter = config["adapter"]
        self.shared: dict[str, Any] = {
            "svfit": __version__,
            "versions": versions(LIBRARIES),
            "device": device_of(context.config.train.device).type,
            "base": context.base["sha256"],
            "rows": {split.name: split.sha256 for split in (dataset.train, dataset.validation)},
            "labels": list(dataset.labels),
            "data": {key: config["data"][key] for key in ("text", "label", "task", "validation_share")},
            "model": config["model"],
            "train": {key: value for key, value in config["train"].items() if key not in NOT_DECIDING},
            "metric": problem.metric,
        }

    def __call__(self, cell: Cell) -> str:
        own = self.adapter if cell.method == "svfit" else {key: self.adapter[key] for key in LAYERS_ONLY}
        return sha256_json(self.shared | {"cell": dataclasses.asdict(cell), "adapter": own})
