"""Fine-tune the active adapter and its head."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from transformers import TrainingArguments, set_seed
from transformers.trainer_callback import PrinterCallback

from pipeline.train.device import device_of
from pipeline.train.learning import Learning, TrainRows
from pipeline.train.metrics import HIGHER_IS_BETTER
from pipeline.train.patience import Patience
from pipeline.train.plan import Plan
from pipeline.train.trainer import LOWER, AdapterTrainer
from pipeline.train.tuned import Tuned
from pipeline.train.watch import Watch
from serve.errors import InputError, UsageError

Measure = Callable[[Any, Any], dict[str, float]]


@dataclass(frozen=True)
class Fit:
    """What a training left: the report's `training` section, and a way to predict with what was learned."""

    record: dict[str, Any]
    trainer: AdapterTrainer

    def logits(self, rows: TrainRows) -> NDArray[np.float32]:
        """`(rows, outputs)` of the trained model, in evaluation mode."""
        every: Any = rows
        found = self.trainer.predict(every).predictions
        return np.asarray(found, dtype=np.float32)


def fit(
    tuned: Tuned,
    learning: Learning,
    train: TrainRows,
    validation: TrainRows,
    *,
    plan: Plan,
    folder: Path,
    console: Console,
    measure: Measure | None = None,
) -> Fit:
    """Train on `train`, keep the epoch that is best on `validation` (with `plan.max_steps`, the last step); without
    any epoch only measure what is there.

    With `plan.checkpoint`, a checkpoint of the trained parameters is written to `folder` after each epoch, and a
    broken training goes on from the last one to the same result. `measure` gives the metrics of outputs against labels,
    where they aren't those of what is learned. Raises `UsageError` for a device or precision that isn't here,
    `InputError` where the loss stops being a number.
    """
    set_seed(plan.seed)
    watch = Watch(console)
    trainer = make_trainer(tuned, learning, plan, folder, train=train, validation=validation, measure=measure)
    trainer.add_callback(watch)
    if plan.early_stopping and not plan.max_steps:
        trainer.add_callback(Patience(plan.early_stopping, plan.metric))
    if not plan.epochs:
        return Fit(_untrained(trainer, validation, watch, plan), trainer)
    _start_memory()
    last = _last_checkpoint(folder) if plan.checkpoint else None
    try:
        trainer.train(resume_from_checkpoint=str(last) if last else None)
    finally:
        watch.progress.stop()
    if trainer.best is not None:
        trainer.put(trainer.best)
    if not all(bool(torch.isfinite(value).all()) for value in trainer.trained().values()):
        raise InputError(f"training diverged: a trained value is NaN or infinite{LOWER}")
    return Fit(_record(trainer, watch, plan), trainer)


def make_trainer(
    tuned: Tuned,
    learning: Learning,
    plan: Plan,
    folder: Path,
    *,
    train: TrainRows,
    validation: TrainRows,
    measure: Measure | None = None,
) -> AdapterTrainer:
    """The trainer of a plan, which also predicts. Raises `UsageError` for a device or precision that isn't here."""
    scored = measure or learning.score
    trainer = AdapterTrainer(
        tuned,
        learning,
        plan,
        class_weights(train, len(_labels(tuned))) if plan.class_weights else None,
        args=_arguments(plan, folder, len(train), learning.by_length),
        train_dataset=train,
        eval_dataset=validation,
        data_collator=learning.collate,
        compute_metrics=lambda found: scored(found.predictions, found.label_ids),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def class_weights(rows: TrainRows, classes: int) -> torch.Tensor:
    """`rows / (classes · rows of the class)` for each class, float32 `(classes,)`; an absent class weighs 1."""
    counts = torch.bincount(torch.tensor(rows.labels, dtype=torch.int64), minlength=classes)
    weights = len(rows) / (classes * counts.clamp(min=1).float())
    return torch.where(counts > 0, weights, torch.ones_like(weights))


def _labels(tuned: Tuned) -> range:
    return range(int(getattr(tuned.model.config, "num_labels", 1)))


def _arguments(plan: Plan, folder: Path, rows: int, by_length: bool) -> TrainingArguments:
    steps_an_epoch = max(1, rows // (plan.batch_size * plan.gradient_accumulation))
    strategy = "epoch" if not plan.max_steps else "no"
    bf16, fp16, use_cpu = _precision(plan)
    return TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=plan.epochs,
        max_steps=plan.max_steps or -1,
        per_device_train_batch_size=plan.batch_size,
        per_device_eval_batch_size=max(32, plan.batch_size),
        gradient_accumulation_steps=plan.gradient_accumulation,
        warmup_steps=plan.warmup,
        lr_scheduler_type={"constant": "constant_with_warmup"}.get(plan.schedule, plan.schedule),
        max_grad_norm=plan.max_grad_norm,
        train_sampling_strategy="group_by_length" if by_length else "random",
        eval_strategy=strategy,
        save_strategy=strategy if plan.checkpoint else "no",
        save_total_limit=1,
        load_best_model_at_end=plan.checkpoint and strategy == "epoch",
        metric_for_best_model=f"eval_{plan.metric}",
        greater_is_better=HIGHER_IS_BETTER[plan.metric],
        logging_steps=max(1, steps_an_epoch // 20),
        logging_nan_inf_filter=False,
        seed=plan.seed,
        data_seed=plan.seed,
        bf16=bf16,
        fp16=fp16,
        use_cpu=use_cpu,
        dataloader_pin_memory=False,
        remove_unused_columns=False,
        label_names=["labels"],
        disable_tqdm=True,
        ddp_find_unused_parameters=False,
        ddp_broadcast_buffers=False,  # the factors are the same in every process
        report_to="none",
    )


def _precision(plan: Plan) -> tuple[bool, bool, bool]:
    """bf16, fp16, and whether to stay on the CPU."""
    device = device_of(plan.device).type
    if plan.precision == "fp16" and device != "cuda":
        raise UsageError("train.precision: fp16 needs a CUDA GPU; available here: fp32, bf16")
    bf16 = plan.precision == "bf16" or (
        plan.precision == "auto" and device == "cuda" and torch.cuda.is_bf16_supported()
    )
    return bf16, plan.precision == "fp16", device == "cpu"


def _last_checkpoint(folder: Path) -> Path | None:
    found = [path for path in folder.glob("checkpoint-*") if (path / "trainer_state.json").is_file()]
    return max(found, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def _start_memory() -> None:
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def _peak_memory(device: torch.device) -> int:
    """Bytes: the GPU's peak where one was trained on, else the process's peak resident size."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated())
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _untrained(trainer: AdapterTrainer, validation: TrainRows, watch: Watch, plan: Plan) -> dict[str, Any]:
    """What `_record` tells, of a model as it came."""
    found = trainer.predict(cast(Any, validation), metric_key_prefix="eval").metrics or {}
    skip = ("eval_runtime", "eval_samples_per_second", "eval_steps_per_second", "eval_model_preparation_time")
    row = {key[5:]: value for key, value in found.items() if key.startswith("eval_") and key not in skip}
    row |= {"step": 0, "epoch": 0.0, "seconds": 0.0}
    return {
        **_record(trainer, watch, plan),
        "validation": [row],
        "best": {"epoch": 0.0, "metric": plan.metric, "value": row[plan.metric]},
    }


def _record(trainer: AdapterTrainer, watch: Watch, plan: Plan) -> dict[str, Any]:
    history = trainer.state.log_history
    at = ("step", "epoch", "seconds")
    curve = [
        {key: row[key] for key in at} | {"loss": row["loss"], "lr": row["learning_rate"]}
        for row in history
        if "loss" in row
    ]
    skip = ("eval_runtime", "eval_samples_per_second", "eval_steps_per_second")
    validation = [
        {key: row[key] for key in at}
        | {key[5:]: value for key, value in row.items() if key.startswith("eval_") and key not in skip}
        for row in history
        if "eval_loss" in row
    ]
    best = None
    if validation:
        pick = max if HIGHER_IS_BETTER[plan.metric] else min
        row = pick(validation, key=lambda entry: float(entry[plan.metric]))
        best = {"epoch": row["epoch"], "metric": plan.metric, "value": row[plan.metric]}
    return {
        "curve": curve,
        "validation": validation,
        "seconds": watch.train_seconds,
        "seconds_per_step": watch.train_seconds / max(1, watch.steps_timed),
        "steps": trainer.state.global_step,
        "peak_memory_bytes": _peak_memory(trainer.args.device),
        "device": str(trainer.args.device),
        "precision": "bf16" if trainer.args.bf16 else "fp16" if trainer.args.fp16 else "fp32",
        "best": best,
    }
