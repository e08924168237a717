"""One training of a comparison: a method at a rate with a seed. Runs in a process of its own."""

from __future__ import annotations

import dataclasses
import json
import math
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import set_seed

from pipeline.compare.problem import Problem
from pipeline.compare.worker import Tell
from pipeline.methods import Method, method
from pipeline.methods.method import Targets
from pipeline.model.load import Loaded
from pipeline.stages.quiet import quiet_libraries
from pipeline.svf.targets import find_targets
from pipeline.svf.weights import oriented_weight
from pipeline.train import predict
from pipeline.train.device import device_of
from pipeline.train.fit import Fit, fit
from pipeline.train.plan import Plan
from pipeline.train.trainer import LOWER
from pipeline.train.tuned import put
from serve.errors import InputError
from serve.files import write_json

TRAINED = "trained.safetensors"
FORM = "form.json"
PLAIN = Plan()


@dataclass(frozen=True)
class Cell:
    """A method (as a person names it) at a learning rate with a seed."""

    method: str
    rate: float
    seed: int

    @property
    def key(self) -> str:
        """A file name."""
        return f"{self.method.replace(':', '-')}_{self.rate:g}_{self.seed}"


def train(
    problem: Problem,
    cell: Cell,
    plan: Plan,
    folder: Path,
    *,
    chosen: Method | None = None,
    tell: Tell = lambda *_: None,
) -> dict[str, Any]:
    """Train one cell and leave what it learned in `folder/trained.safetensors`; test rows are not touched.

    `chosen` is the method where it isn't the one that the cell's name stands for by itself.

    Gives what it took and reached: `trained` (values of adapter and head), `bytes` that they take in float32,
    `validation` (metrics of the best epoch; of the last step where the plan has `max_steps`), `curve` and `epochs`
    (loss and validation metrics, with steps and seconds), `seconds` (of the steps), `seconds_per_step`, `steps`,
    `total_seconds` (validations included), `prepare_seconds`, `peak_memory_bytes` (of the process, or of the GPU),
    `device`, and `layers` (values that LoRA r=8 and full fine-tuning would train on the same layers).

    Raises `InputError` where it diverges, without advice to lower the rate: a sweep tries others anyway.
    """
    began = time.perf_counter()
    chosen = chosen or method(cell.method)
    with quiet_libraries():
        loaded, layers, tuned = _prepare(problem, cell, chosen)
        prepared = time.perf_counter()
        try:
            found = _fit(problem, cell, plan, folder, chosen, tuned, loaded, tell)
        except InputError as error:
            raise InputError(str(error).removesuffix(LOWER)) from None
        record, counts = found.record, chosen.count(tuned)
        validation, epoch = _reached(found)
    if chosen.form is not None:
        write_json(folder / FORM, chosen.form(tuned))
    save_file(found.trainer.trained(), str(folder / TRAINED))
    return {
        **dataclasses.asdict(cell),
        "title": chosen.title,
        "trained": counts,
        "layers": layers,
        "bytes": 4 * sum(counts.values()),
        "validation": validation,
        "best_epoch": epoch,
        "curve": record["curve"],
        "epochs": record["validation"],
        "prepare_seconds": prepared - began,
        "total_seconds": time.perf_counter() - prepared,
        **{key: record[key] for key in ("seconds", "seconds_per_step", "steps", "peak_memory_bytes", "device")},
    }


def test(
    problem: Problem, cell: Cell, folder: Path, *, plan: Plan = PLAIN, chosen: Method | None = None
) -> dict[str, float]:
    """Every metric on the test rows of what `train` left in `folder`; `plan` says on which device."""
    with quiet_libraries():
        loaded, _, tuned = _prepare(problem, cell, chosen or method(cell.method), folder / FORM)
        rows = problem.rows("test", loaded)
        put(tuned, load_file(folder / TRAINED))
        model = tuned.model.to(device_of(plan.device))
        learning = problem.learning(loaded)
        return problem.score(learning, predict.outputs(model, learning, rows), predict.labels(learning, rows))


def lora_values(loaded: Loaded, targets: Targets) -> dict[str, int]:
    """Values that LoRA r=8 (`lora`) and full fine-tuning (`full`) would train on the target layers."""
    layers = find_targets(loaded.model, targets, loaded.whole).values()
    shapes = [oriented_weight(layer).shape for layer in layers]
    return {"lora": sum(8 * sum(shape) for shape in shapes), "full": sum(math.prod(shape) for shape in shapes)}


def _prepare(
    problem: Problem, cell: Cell, chosen: Method, form: Path | None = None
) -> tuple[Loaded, dict[str, int], Any]:
    """With `form`, to the form that a training left there, if it chose any."""
    set_seed(cell.seed)
    loaded = problem.model()
    values = lora_values(loaded, chosen.targets)
    if form is None or chosen.again is None:
        return loaded, values, chosen.prepare(loaded)
    return loaded, values, chosen.again(loaded, json.loads(form.read_text("utf-8")))


def _fit(
    problem: Problem, cell: Cell, plan: Plan, folder: Path, chosen: Method, tuned: Any, loaded: Loaded, tell: Tell
) -> Fit:
    own = dataclasses.replace(plan, seed=cell.seed, metric=problem.metric, checkpoint=False)
    if chosen.of_head:
        own = dataclasses.replace(own, head_learning_rate=cell.rate)
    else:
        own = dataclasses.replace(own, learning_rate=cell.rate)
    rows = problem.rows("train", loaded)
    batches = plan.epochs * math.ceil(len(rows) / plan.batch_size)
    _count_batches(tuned.model, plan.max_steps * plan.gradient_accumulation or batches, tell)
    learning = problem.learning(loaded)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        return fit(
            tuned,
            learning,
            rows,
            problem.rows("validation", loaded),
            plan=own,
            folder=Path(scratch),
            console=Console(stderr=True, quiet=True),
            measure=partial(problem.score, learning),
        )


def _count_batches(model: nn.Module, total: int, tell: Tell) -> None:
    done = 0

    def count(module: nn.Module, _: Any) -> None:
        nonlocal done
        if module.training:
            done += 1
            tell(min(done, total), total)

    model.register_forward_pre_hook(count)


def _reached(found: Fit) -> tuple[dict[str, float], float | None]:
    """The validation's metrics of what was kept, and its epoch, where epochs were compared."""
    record = found.record
    if record["best"] is None:
        row = {key.removeprefix("eval_"): value for key, value in found.trainer.evaluate().items()}
        epoch = None
    else:
        epoch = record["best"]["epoch"]
        row = next(row for row in record["validation"] if row["epoch"] == epoch)
    skip = ("step", "epoch", "seconds", "runtime", "samples_per_second", "steps_per_second")
    reached = {key: float(value) for key, value in row.items() if key not in skip}
    wrong = next((key for key, value in reached.items() if not math.isfinite(value)), None)
    if wrong is not None:
        raise InputError(f"training diverged: {wrong} on validation is not a number")
    return reached, epoch
